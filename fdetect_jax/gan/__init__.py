"""StyleGAN2's generator and discriminator, its objectives, the networks that invert faces into it, perceptual terms."""

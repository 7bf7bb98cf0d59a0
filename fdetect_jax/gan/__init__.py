"""StyleGAN2, its discriminator and objectives, and the inversion of faces into it."""

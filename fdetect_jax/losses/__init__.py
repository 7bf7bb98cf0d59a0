"""Terms of a detector's loss, how they combine, and perceptual distances for inversion."""

"""Models, and the encoders and decoders that they are made of."""

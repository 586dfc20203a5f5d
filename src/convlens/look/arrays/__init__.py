"""What a model sees, as arrays: for any `torch.nn.Module` with 2-D convolutions."""

"""What a model sees: the views, which show themselves; `look.arrays` has the numbers behind them."""

"""Videos of anybody's, without labels, as clips to train and evaluate on."""

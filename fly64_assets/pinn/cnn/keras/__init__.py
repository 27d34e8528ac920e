"""The network ``cnn`` in TensorFlow and Keras."""

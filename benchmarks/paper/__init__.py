"""The experiments of Chen et al. (2017), "Variational Lossy Autoencoder", with files instead of bounds."""

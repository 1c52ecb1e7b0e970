"""What runs on the laptop: corpora, training, compression, figures."""

"""Starting networks without labels: an autoencoder trained on many pictures (as in Unsup3d).

starting_networks      the training, resumable
symmetric_autoencoder  its loss and updates
view_terms             what it knows of views and lights
prior_estimation       Gaussians of views and lights of a category, by such a training
"""

"""From a configuration and pictures to written results, a module for each thing on the way.

setup, config_checks, network_modules   a configuration -> numbers, plan, networks
frozen_weights, assembly                weight files -> what all pictures share
sources, masks, picture_latents         pictures, their masks and latents
jobs, preparation, fitting              one picture's fit, from its files to its factors
picture_results, finished               what is written of it
collection, joint_collection            all pictures, each by itself or jointly
"""

"""Replay of three optimiser steps of a small encoder (`f_adam_encoder`)."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gan2shape_jax.weights import network_checkpoints
from tests.golden import replays

LEARNING_RATE = 1e-4
WEIGHT_DECAY = 5e-4


@replays('f_adam_encoder.npz')
def replay_adam_encoder(fixture, report):
  params = network_checkpoints.network_from_state_dict('light', fixture.group('start'))
  module = network_checkpoints.network_from_params('light', params)
  images = jnp.asarray(fixture['input'].transpose(0, 2, 3, 1))
  target = jnp.asarray(fixture['target'])
  optimiser = optax.chain(optax.add_decayed_weights(WEIGHT_DECAY), optax.adam(LEARNING_RATE))

  def loss_of(params):
    return jnp.square(module.apply({'params': params}, images) - target).mean()

  @jax.jit
  def step(params, state):
    loss, gradients = jax.value_and_grad(loss_of)(params)
    updates, state = optimiser.update(gradients, state, params)
    return optax.apply_updates(params, updates), state, loss, gradients

  state, losses = optimiser.init(params), []
  for i in range(len(fixture['loss_before_each_step'])):
    params, state, loss, gradients = step(params, state)
    losses.append(float(loss))
    if i == 0:
      compare(report, 'grad_step0', gradients, fixture, 1e-4, 'max')
    compare(report, f'after{i + 1}', params, fixture, 2e-6, 'one')
  expected = fixture['loss_before_each_step']
  report.check('loss_before_each_step', losses, expected, 1e-4, relative_to='value')


def compare(report, group, tree, fixture, tolerance, relative_to):
  ours = network_checkpoints.network_to_state_dict('light', jax.tree.map(np.asarray, tree))
  for name, expected in fixture.group(group).items():
    report.check(f'{group}/{name}', ours[name], expected, tolerance, relative_to=relative_to)

"""Every configuration at full size: its numbers, its programs' shapes, its missing files."""

import importlib
import itertools
import json
import math
import pathlib

import jax
import pytest

from benchmarks.support.full_size_programs import (
  GANS,
  count_parameters,
  full_size_shapes,
  run_all,
)
from gan2shape_jax.errors import WeightsError
from gan2shape_jax.pipeline import config_checks, frozen_weights, setup
from gan2shape_jax.pipeline.masks import check_category
from gan2shape_jax.weights.network_checkpoints import CHECKPOINT_KEYS
from tests.conftest import TESTDATA

CASES = [
  ('lsun_car', ''),
  ('lsun_church', ''),
  ('lsun_cat', ''),
  ('lsun_cat', 'pretrain'),
  ('celeba', ''),
  ('celeba', 'pretrain'),
  ('synface', ''),
  ('synface', 'pretrain'),
]
MANIFESTS = TESTDATA / 'manifests.json'
TOTALS = {  # iterations of all stages, and of the fit to the prior
  ('lsun_car', ''): 2000 + 3 * 1100 + 1000,
  ('lsun_church', ''): 2000 + 3 * 1100 + 1000,
  ('lsun_cat', ''): 1600 + 3 * 1000,
  ('lsun_cat', 'pretrain'): 4500 + 3 * 2700 + 1000,
  ('celeba', ''): 1600 + 3 * 1000,
  ('celeba', 'pretrain'): 4500 + 3 * 2700 + 1000,
  ('synface', ''): 1200,
  ('synface', 'pretrain'): 4500 + 7 * 2700 + 1000,
}


def load(name, variant=''):
  return importlib.import_module(f'configs.{name}').get_config(variant)


def test_no_configuration_is_left_out():
  files = {path.stem for path in pathlib.Path('configs').glob('*.py')}
  assert files == {name for name, _ in CASES} | {'heads', 'train_heads'}


@pytest.mark.parametrize('name', sorted({name for name, _ in CASES}))
def test_all_steps_fit_together_at_full_size(name):
  config = load(name)
  config_checks.check_config(config)
  check_category(config)
  shapes = full_size_shapes(config)
  trace = lambda _, function, *arguments: jax.eval_shape(function, *arguments)
  state, terms = run_all(config, shapes, trace)
  assert {k: v.shape for k, v in terms.items()} == dict.fromkeys(terms, ())
  assert jax.tree.map(lambda x: x.shape, state.params) == jax.tree.map(
    lambda x: x.shape, shapes.params
  )


@pytest.mark.parametrize(('name', 'variant'), CASES)
def test_lengths_are_the_published_ones(name, variant):
  config = load(name, variant)
  plan = setup.plan_from_config(config, trained=bool(config.networks.pretrained))
  assert plan.total() == TOTALS[name, variant]


@pytest.mark.parametrize('name', ['celeba', 'synface'])
def test_networks_have_the_published_sizes(name):
  config = load(name)
  manifest = json.loads(MANIFESTS.read_text())[f'gan2shape_{config.image_size}']
  published = {
    kind: sum(math.prod(shape) for shape in manifest[key].values())
    for kind, key in CHECKPOINT_KEYS.items()
  }
  params = full_size_shapes(config).params
  assert {kind: count_parameters(tree) for kind, tree in params.items()} == published


@pytest.mark.parametrize('name', ['celeba', 'lsun_church', 'lsun_car'])
def test_gans_have_the_published_sizes(name):
  config = load(name)
  resolution, multiplier = GANS[pathlib.Path(config.gan.weights).name]
  manifest = json.loads(MANIFESTS.read_text())
  manifest = manifest[f'stylegan2_{resolution}_channel_multiplier_{multiplier}']
  frozen = full_size_shapes(config).frozen
  for key, tree in (('g_ema', frozen.generator), ('d', frozen.discriminator)):
    # Blur kernels are not parameters here.
    kept = {name: shape for name, shape in manifest[key].items() if 'kernel' not in name}
    assert count_parameters(tree) == sum(math.prod(shape) for shape in kept.values())


@pytest.mark.parametrize(('name', 'variant'), CASES)
def test_unknown_variants_are_refused(name, variant):
  with pytest.raises(ValueError, match='unknown variant'):
    load(name, 'nonsense')


@pytest.mark.parametrize('name', sorted({name for name, _ in CASES}))
def test_all_missing_files_are_named_in_one_line(name):
  config = load(name)
  with pytest.raises(WeightsError) as caught:
    frozen_weights.check_files(config)
  message = str(caught.value)
  assert '\n' not in message
  for setting in ('gan.weights', 'prior.view_light', 'parsing.weights', 'loss.perceptual_weights'):
    assert setting in message
  assert message.count('.pth') == 5 + bool(config.networks.pretrained)


def test_views_are_told_only_where_the_factors_are_fitted():
  told = {}
  for mode, factors in itertools.product(('fit', 'joint', 'predict'), ('direct', 'networks')):
    config = load('heads')
    config.mode, config.fit.factors = mode, factors
    told[mode, factors] = setup.settings_from_config(config).fit.views == 'told'
    expected = config.projection.refine_iterations if mode == 'fit' else 0
    assert setup.plan_from_config(config, trained=True).refine_iterations == expected
  assert [case for case, yes in told.items() if yes] == [('fit', 'direct')]
  config.mode, config.fit.factors, config.networks.pretrained = 'fit', 'direct', ''
  assert setup.settings_from_config(config).fit.views == 'drawn'  # nobody is there to tell

"""The defaults of the configuration are those of the algorithm; others stand in it alone."""

import dataclasses

import pytest

from gan2shape_jax.config import get_default_config
from gan2shape_jax.gan_training.gan_settings import GanSettings
from gan2shape_jax.pipeline import setup
from gan2shape_jax.pretraining.symmetric_autoencoder import PretrainingSettings
from gan2shape_jax.reconstruction.inversion import InversionSettings
from gan2shape_jax.reconstruction.state import FitSettings, Settings


@pytest.mark.parametrize('field', dataclasses.fields(Settings), ids=lambda field: field.name)
def test_a_setting_has_one_default(field):
  made = setup.settings_from_config(get_default_config())
  assert getattr(made, field.name) == getattr(Settings(), field.name)


def test_every_setting_of_the_fit_is_in_the_configuration():
  config = get_default_config()
  elsewhere = {'refine_start', 'refine_rate', 'lam_latent', 'collect_iters'}
  fields = {field.name for field in dataclasses.fields(FitSettings)}
  assert fields - elsewhere == set(config.fit) - {'finish'}


@pytest.mark.parametrize('made', [GanSettings, InversionSettings, PretrainingSettings])
def test_what_the_configuration_alone_sets_has_no_second_default(made):
  assert all(field.default is dataclasses.MISSING for field in dataclasses.fields(made))


def test_the_inversion_takes_its_whole_section():
  config = get_default_config()
  assert dataclasses.asdict(InversionSettings(**config.inversion)) == dict(config.inversion)

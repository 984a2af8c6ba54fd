"""Every number of the method once, with its meaning. The presets hold differences only."""

from ml_collections import ConfigDict

# Settings by their names in earlier versions -> today's.
RENAMED = {'joint': 'pretraining', 'sampling.rand_light': 'sampling.random_light'}


def get_default_config() -> ConfigDict:
  """The defaults shared by all experiments.

  Returns:
    A locked-by-caller ConfigDict; `presets/heads.py` shows how an experiment changes it.
  """
  config = ConfigDict()
  config.seed = 0  # the one seed of a run
  config.mode = 'fit'  # each picture by itself: fit, predict (one look); all together: joint
  config.image_size = 64  # pixels, a power of two of at least 64
  config.published = False  # reproduce the published code's departures (docs/published.md)

  config.data = ConfigDict()
  config.data.source = 'images'  # images: the files below; samples: data.num images of the GAN; or
  #                              tfds:NAME, a data set of TensorFlow Datasets
  config.data.images = 'embedded:heads'  # file, folder, glob or list (.txt); 'embedded:heads'
  config.data.masks = ''  # folder of masks of the same names (white on the object); '' = none
  config.data.latents = ''  # file or folder of latents (docs/latents.md); '' = invert
  config.data.depths = ''  # folder of true depth PNGs (depth = 1.1 - 0.2 v); only for metrics
  config.data.regions = ''  # folder of masks to which metrics are confined; '' = the depth's own
  config.data.num = 0  # use only so many pictures; 0 = all
  config.data.start = 0  # index of the first picture used; of samples, the first seed
  config.data.most_pixels = 178_956_970  # of a picture's file; larger ones are refused
  config.data.on_error = 'stop'  # stop at a picture that cannot be reconstructed, or skip it
  config.data.landmarks = ''  # .npz, .csv or .txt with five points of each face; '' = no alignment
  config.data.align_to = 'ffhq'  # ... where they go: ffhq, or x1,y1,...,x5,y5 in parts of 1
  config.data.spread = 1.0  # truncation of the samples' latents
  config.data.tfds_split = 'train'  # of tfds:NAME, also a part: train[:10%]
  config.data.tfds_dir = ''  # where TensorFlow Datasets keeps its data; '' = its default

  config.camera = ConfigDict()
  config.camera.fov = 10.0  # degrees over the image's width
  config.camera.min_depth = 0.9  # range of canonical depth, camera units
  config.camera.max_depth = 1.1
  config.camera.border_depth = 1.04  # depth of the two columns at each side
  config.camera.border_weight = 1.0  # how strongly they are pulled there (published: 1.02)
  config.camera.rotation_center = 1.0  # depth of the centre of rotation
  config.camera.rotation_range = 60.0  # degrees for a view network's output of 1
  config.camera.xy_translation_range = 0.1  # camera units for an output of 1
  config.camera.z_translation_range = 0.0

  config.renderer = ConfigDict()
  config.renderer.pixel_offset = 0.0  # published: 0.5
  config.renderer.supersample = 1  # published: 2
  config.renderer.march_steps = 0  # steps along a ray; 0 = half the image size

  config.gan = ConfigDict()
  config.gan.weights = 'embedded:heads'  # .safetensors, rosinality .pt, NVIDIA .pkl
  config.gan.truncation = 1.0
  config.gan.crop = 0  # centre crop of the GAN's image, pixels at origin_size; 0 = none
  config.gan.origin_size = 0  # size the GAN's image is brought to before the crop; 0 = image_size

  config.networks = ConfigDict()
  config.networks.width = (
    0  # first width of depth, albedo, view, light nets; 0 = max(4096/size, 16)
  )
  config.networks.group_norm_base = 0  # channels a group; 0 = 8 from 128 px on, else 16
  config.networks.bottleneck = 256
  config.networks.encoder_width = 32
  config.networks.pretrained = ''  # .safetensors with starting parameters; '' = fit the prior

  config.prior = ConfigDict()
  config.prior.shape = 'ellipsoid'  # ellipsoid, dome, flat, asymmetric
  config.prior.category = 'face'  # edits of the mask's box: face, synface, cat, car, church, horse
  config.prior.near = 0.91
  config.prior.far = 1.02
  config.prior.iterations = 1000  # Adam steps that regress the depth net to it
  config.prior.image_centered = False  # stretch about the image's centre (published)
  config.prior.view_light = 'embedded:heads'  # .npz: view_mean, view_cov, light_mean, light_cov

  config.fit = ConfigDict()  # of one picture
  config.fit.factors = 'networks'  # the unknowns of steps 1 and 3: the networks' weights, as
  #                                  published, or the factors themselves: direct (then all below)
  config.fit.box = ()  # the object's: top, bottom, left, right in parts; () = its mask
  config.fit.rim = 1.05  # radius of the ellipse in the box at which nothing counts any more
  config.fit.views = 'drawn'  # where the projections' views start: as drawn, or as the starting
  #                             networks tell them: told (without networks.pretrained: drawn)
  config.fit.depth_rate = 1e-2  # Adam steps: of depth (before tanh), ...
  config.fit.albedo_rate = 2e-2  # ... albedo (before tanh), ...
  config.fit.view_rate = 1e-2  # ... the projections' views, network units, ...
  config.fit.light_rate = 1e-2  # ... lights and ...
  config.fit.own_view_rate = 5e-3  # ... the picture's view
  config.fit.last_rate = 0.1  # part of the rates at the end of step 3, to which they fall
  config.fit.hold_views = 0.3  # part of step 3 in which views stay as they were drawn
  config.fit.lam_own = 0.1  # the picture itself beside a batch of projections
  config.fit.lam_smooth = 0.05  # absolute second differences of depth
  config.fit.lam_bend = 0.05  # squared ones: no spikes
  config.fit.lam_mirror = 0.0  # the mirrored shape must explain all pictures too
  config.fit.lam_relief = 0.0  # coarse relief against that before step 3
  config.fit.lam_draw = 0.02  # projections' views against those drawn, in the prior's deviations
  config.fit.lam_own_view = 0.0  # the picture's view against that before step 3
  config.fit.lam_hidden = 0.1  # step 1: the mirrored shape, for what the picture hides
  config.fit.finish = 80  # iterations of step 1 after the last stage
  config.fit.largest_error = 1.5  # a fit is put back whose own error grows by more, ...
  config.fit.largest_relief = 2.0  # ... whose relief does, ...
  config.fit.largest_view = 3.5  # ... or whose view goes so many deviations from the prior's mean

  config.projection = ConfigDict()  # of pseudo samples, at the end of step 2
  config.projection.refine_iterations = 0  # steps on each latent, after the encoder (published 0)
  config.projection.start = 'encoder'  # of these latents: as the encoder has them, or moved as w
  #                                      goes with views and lights: directions (without
  #                                      networks.pretrained: encoder)
  config.projection.refine_rate = 0.06  # Adam, in deviations of w along its principal directions
  config.projection.lam_latent = 0.1  # pull to the encoder's latents

  config.parsing = ConfigDict()
  config.parsing.weights = ''  # BiSeNet or PSPNet, for pictures without a mask; '' = an ellipse

  config.sampling = ConfigDict()
  config.sampling.batch_size = 16  # pseudo samples an iteration
  config.sampling.view_scale = 1.0  # multiplies the spread of the yaw
  config.sampling.scale_mean_yaw = False  # ... and its mean (published)
  config.sampling.lights = 'range'  # random_light, or as the prior has them: prior
  config.sampling.random_light = ConfigDict()  # relative to the picture's own light
  config.sampling.random_light.x = (-1.0, 1.0)  # slopes of its direction, to the right
  config.sampling.random_light.y = (-0.2, 0.8)  # ... and downwards
  config.sampling.random_light.strength = (-0.1, 0.6)  # change of the diffuse light
  config.sampling.random_light.ambient = -0.6  # change of the ambient one for each unit of that
  config.sampling.collect_iters = 100  # batches projected at the end of step 2
  config.sampling.relative_encoding = True  # offsets relative to the GAN's own image
  config.sampling.use_mask = False  # canonical mask in step 2's and 3's losses
  config.sampling.f1_depth = 2  # mapping layers the offset passes through
  config.sampling.skip_first_batch = False  # first pass of step 3 (published)

  config.loss = ConfigDict()
  config.loss.perceptual = 'discriminator'  # lpips, discriminator, none
  config.loss.perceptual_weights = ''  # .safetensors of VGG16 and LPIPS heads, for lpips
  config.loss.discriminator_features = 4  # block outputs compared
  config.loss.lam_perceptual = 0.5
  config.loss.lam_smooth = 0.01
  config.loss.smooth_huber = 0.0  # second differences below this count quadratically; 0 = L1
  config.loss.lam_regular = 0.01  # size of latent offsets
  config.loss.lam_view = 0.0  # V on projections against the views drawn (0 = published)
  config.loss.lam_light = 0.0  # L on projections against the lights drawn (0 = published)
  config.loss.lam_relief = 0.0  # coarse relief against that before step 3 (0 = published)

  config.optimizer = ConfigDict()
  config.optimizer.learning_rate = 1e-4
  config.optimizer.beta1 = 0.9
  config.optimizer.beta2 = 0.999
  config.optimizer.weight_decay = 5e-4  # added to the gradient, not decoupled

  config.stages = ConfigDict()
  config.stages.count = 4
  config.stages.first = stage(600, 600, 400, flip1=False, flip3=True)
  config.stages.later = stage(200, 500, 300, flip1=False, flip3=False)

  config.pretraining = ConfigDict()  # experiments/pretrain.py
  config.pretraining.iterations = 3000
  config.pretraining.batch_size = 16  # pictures drawn from the GAN each iteration
  config.pretraining.spread = 1.0  # truncation of their latents
  config.pretraining.learning_rate = 5e-4  # falls by a cosine to ...
  config.pretraining.last_rate = 0.1  # ... this part of it
  config.pretraining.box = (0.05, 0.89, 0.22, 0.78)  # the object's: top, bottom, left, right
  config.pretraining.prior_iterations = 300  # regression of the depth net to the prior, first
  config.pretraining.prior_learning_rate = 1e-3
  config.pretraining.fixed_shape = 600  # iterations before the depth net joins
  config.pretraining.shared_shape = 1400  # iterations with one shape for all pictures
  config.pretraining.ramp = 500  # iterations over which their own shapes are let in
  config.pretraining.lam_view_first = 0.05  # views' distance to their prior, while the shape holds
  config.pretraining.lam_view = 0.02  # ... and afterwards
  config.pretraining.lam_light = 0.01  # lights' moments' distance to their prior
  config.pretraining.lam_prior = 0.01  # coarse relief's distance to the prior shape
  config.pretraining.lam_turn = 0.05  # known turns of the pictures, in the views' predictions
  config.pretraining.turn_spread = (0.12, 0.3)  # of pitch and yaw of these turns, network units

  config.gan_training = ConfigDict()  # experiments/train_gan.py
  config.gan_training.images = ''  # .npz with uint8 'images' (or many), pictures, or tfds:NAME
  config.gan_training.images_shown = 88_000  # length of the training, may be changed on the way
  config.gan_training.decay_images = 0  # the last so many see both rates fall to 0; free as well
  config.gan_training.devices = 0  # over which a batch is split; 0 = all
  config.gan_training.cpu_devices = 0  # that a processor is divided into; 0 = one a core, at most 4
  config.gan_training.latent_size = 256
  config.gan_training.mapping_layers = 8
  config.gan_training.widths = (128, 128, 96, 48, 24)  # channels from 4 px up to image_size
  config.gan_training.batch_size = 16
  config.gan_training.learning_rate = 2e-3  # of both networks
  config.gan_training.beta1 = 0.0
  config.gan_training.beta2 = 0.99
  config.gan_training.r1_weight = 1.0  # of the squared gradient at real images, halved
  config.gan_training.r1_every = 16  # iterations; the term is multiplied by as many
  config.gan_training.path_weight = 2.0  # of the path lengths' variance
  config.gan_training.path_every = 8
  config.gan_training.path_decay = 0.01  # of the running mean of path lengths
  config.gan_training.path_batch_shrink = 2  # part of the batch that it is computed on
  config.gan_training.style_mixing = 0.9  # probability of two latents in one image; free as well
  config.gan_training.ema_half_life = 8000.0  # images, of the generator's running average
  config.gan_training.ema_ramp_up = 0.05  # ... at most this part of the images shown; 0 = no limit
  config.gan_training.mirror = True  # show mirror images too
  config.gan_training.augment = ''  # what the discriminator sees: some of blit,geometric,colour
  config.gan_training.augment_start = 0.0  # probability of each transform at first
  config.gan_training.augment_target = 0.6  # mean sign of real scores that it is steered to
  config.gan_training.augment_images = 100_000.0  # images in which it could go from 0 to 1
  config.gan_training.augment_every = 4  # iterations between changes
  config.gan_training.dtype = 'float32'  # of the networks' values: float32, bfloat16
  config.gan_training.samples = 64  # images of a sheet
  config.gan_training.events_every = 20  # iterations between points of the curves
  config.gan_training.samples_every = 4000  # images between sheets
  config.gan_training.snapshot_every = 20_000  # images between snapshots
  config.gan_training.checkpoint_every = 4000  # images between checkpoints

  config.inversion = ConfigDict()
  config.inversion.iterations = 250  # Adam steps for a picture without a latent
  config.inversion.space = 'w'  # w, w+
  config.inversion.learning_rate = 0.2
  config.inversion.lam_features = 0.25  # discriminator-feature L1
  config.inversion.lam_perceptual = 0.5  # LPIPS, where loss.perceptual is lpips
  config.inversion.lam_mean = 0.01  # squared distance to the mean latent

  config.precision = 'float32'  # of the GAN and the perceptual networks: float32, bf16
  config.profile = False  # trace a few iterations of each step into <workdir>/profile

  config.checkpoint = ConfigDict()
  config.checkpoint.every = 200  # iterations between checkpoints, beside those at step boundaries
  config.checkpoint.keep = 2

  config.parallel = ConfigDict()  # docs/devices.md
  config.parallel.devices = 0  # of this process; 0 = all
  config.parallel.cpu_devices = 0  # that a processor is divided into; 0 = one a core, at most 4
  config.parallel.split = 'images'  # every device has its own pictures; samples: all have the same
  config.parallel.instances_per_device = 1  # pictures fitted side by side on a device
  config.parallel.form = 'vmap'  # of those: vmap, or loop (less memory; slow on CPUs)

  config.results = ConfigDict()
  config.results.sheets = True  # without sheets, videos and mesh only arrays and metrics
  config.results.videos = True
  config.results.mesh = True
  config.results.texture = 'photo'  # the picture's own pixels, or albedo: the fitted albedo
  config.results.texture_size = 0  # pixels at most; 0 = as many as the picture has, up to 2048
  config.results.max_yaw = (
    70.0  # degrees, less where the shape supports less; 45 for cars, churches
  )
  config.results.max_pitch = 20.0
  return config


def stage(step1: int, step2: int, step3: int, *, flip1: bool, flip3: bool) -> ConfigDict:
  """Lengths of the three steps of a stage in iterations, and where mirror images are used."""
  return ConfigDict(
    {'step1': step1, 'step2': step2, 'step3': step3, 'flip1': flip1, 'flip3': flip3}
  )

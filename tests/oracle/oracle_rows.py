"""The whole comparison with the authors' code, on a device."""
from pathlib import Path
from tempfile import TemporaryDirectory

import oracle_inference_rows as inference
import oracle_models as models
import oracle_runs as runs
import oracle_training_rows as training
from oracle_compare import EXACT
from oracle_rules import make_weights

#: Models, and the short sides at which they are tested.
SIDES = {'eql': (320, 313), 'softmax': (320, )}


def list_rows(device, factor):
    """Compare all that is recorded but for hand-made cases.

    Args:
        device: Where the models are run.
        factor: What multiplies the tolerances, but for what must be equal
            and for the number of boxes without a partner.

    Yields:
        One ``Row`` a comparison, as soon as it is made.
    """
    arrays = {}
    with TemporaryDirectory() as root:
        models.write_data(Path(root))
        for name in SIDES:
            cfg = models.read_config(name, root)
            arrays.update(make_weights(name))  # the same but for a few
            model = models.build_model(cfg, arrays)
            for what, row in model_rows(name, cfg, model.to(device), factor):
                allowed = row.allowed
                if row.unit not in EXACT:
                    allowed *= factor
                yield row._replace(what=f'{what}, {row.what}', allowed=allowed)
            del model  # 200 MB


def model_rows(name, cfg, model, factor):
    """Test and train a model: what was done, and a row."""
    for side in SIDES[name]:
        seen = runs.see(model, models.load_sample(cfg, False, side))
        for row in inference_rows(name, side, model, seen, factor):
            yield f'{name} {side}', row
    seen = runs.see(model, models.load_sample(cfg, True, 320), training=True)
    for row in training_rows(name, model, seen):
        yield f'{name} training', row


def inference_rows(name, side, model, seen, factor):
    """Compare a test run; what is equal to that of EQL is recorded there."""
    shared = models.read_records(f'infer_eql_{side}')
    recorded = models.read_records(f'infer_{name}_{side}')
    yield from inference.input_rows(seen.tensor, recorded)
    if name == 'eql':
        yield from inference.feature_rows(seen, recorded)
        if side == 320:
            yield from inference.rpn_output_rows(model, seen, recorded)
    found = runs.detect(model, seen)
    yield from inference.proposal_rows(found, shared, factor)
    if side == 320:
        yield from inference.box_output_rows(found, shared, recorded, factor)
    yield from inference.detection_rows(found.boxes, recorded, factor)
    # 1,230 masks for each detection take long.
    yield from inference.mask_rows(found.masks(20), recorded, 20, factor)


def rpn_rows(model, seen):
    """Compare what the RPN learns from, and its losses."""
    recorded = models.read_records('rpn')
    yield from training.anchor_rows(model, seen, recorded)
    yield from training.rpn_loss_rows(model, seen, recorded)


def training_rows(name, model, seen):
    """Compare a step on 64 proposals; of softmax only its classifier."""
    shared = models.read_records('train_eql')
    recorded = models.read_records(f'train_{name}')
    step = runs.train(model, seen, shared['proposals'])
    losses = ['loss_cls']
    if name == 'eql':
        losses = list(training.LOSSES)
        yield from rpn_rows(model, seen)
        yield from training.object_rows(seen, recorded)
        yield from training.target_rows(step, recorded)
    yield from training.output_rows(step, shared, recorded)
    names = shared['param_names'].tolist()
    for loss in losses:
        yield training.loss_row(step, recorded, loss)
        gradients = runs.differentiate(step, training.LOSSES[loss])
        yield from training.gradient_rows(gradients, names, recorded, loss)
        if loss == 'loss_cls':
            yield training.bias_row(gradients, recorded)

"""Training on the bridge's problems: update rules, averages of the iterates, a recorder, checkpoints."""

from quadlab.bridge.training.averages import Average, exponential_average, tail_average
from quadlab.bridge.training.equal_loss import LossPath, loss_path, modified_flow
from quadlab.bridge.training.history import History, Series
from quadlab.bridge.training.loop import train
from quadlab.bridge.training.recorder import Recorder
from quadlab.bridge.training.rule import Rule
from quadlab.bridge.training.rules import explicit_gradient_regularization, gradient_descent, nesterov, sam
from quadlab.bridge.training.run import Training, TrainingDiverged
from quadlab.bridge.training.variational import ivon, variational_gradient_descent

__all__ = [
    "Average",
    "History",
    "LossPath",
    "Recorder",
    "Rule",
    "Series",
    "Training",
    "TrainingDiverged",
    "explicit_gradient_regularization",
    "exponential_average",
    "gradient_descent",
    "ivon",
    "loss_path",
    "modified_flow",
    "nesterov",
    "sam",
    "tail_average",
    "train",
    "variational_gradient_descent",
]

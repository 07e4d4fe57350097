"""Written by `make stubs` from the registry of networks and the signatures: do not edit it."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeAlias, overload

import keras
from keras import KerasTensor, Model

from keras_cnns.comparing.model_comparison import ModelComparison as ModelComparison
from keras_cnns.comparing.model_comparison import compare_models as compare_models
from keras_cnns.data.dataset import Dataset as Dataset
from keras_cnns.data.inspection.inspecting import inspect as inspect
from keras_cnns.data.inspection.report import Inspection as Inspection
from keras_cnns.display.progress import Progress as Progress
from keras_cnns.errors import KerasCnnsError as KerasCnnsError
from keras_cnns.evaluation.classifier import Classifier as Classifier
from keras_cnns.evaluation.classifier import load as load
from keras_cnns.evaluation.evaluation import evaluate as evaluate
from keras_cnns.evaluation.explanation import Explanations as Explanations
from keras_cnns.evaluation.explanation import explain as explain
from keras_cnns.evaluation.prediction import Predictions as Predictions
from keras_cnns.evaluation.prediction import predict as predict
from keras_cnns.evaluation.results import Evaluation as Evaluation
from keras_cnns.exporting.export import Export as Export
from keras_cnns.exporting.export import Exports as Exports
from keras_cnns.exporting.export import export as export
from keras_cnns.networks import weights as weights
from keras_cnns.networks.auxiliary import auxiliary_outputs as auxiliary_outputs
from keras_cnns.networks.auxiliary import strip_auxiliary as strip_auxiliary
from keras_cnns.networks.counting import Counts as Counts
from keras_cnns.networks.description import Description as Description
from keras_cnns.networks.families.densenet import dense_block as dense_block
from keras_cnns.networks.families.googlenet import auxiliary_classifier as auxiliary_classifier
from keras_cnns.networks.families.googlenet import inception_module as inception_module
from keras_cnns.networks.families.nin import mlpconv as mlpconv
from keras_cnns.networks.families.resnet import residual_unit as residual_unit
from keras_cnns.networks.features import features as features
from keras_cnns.networks.heads import ImageShape
from keras_cnns.networks.profiling import Profile as Profile
from keras_cnns.networks.profiling import profile as profile
from keras_cnns.networks.recipe import Recipe as Recipe
from keras_cnns.networks.registry import list_models as list_models
from keras_cnns.pretrained.applications import decode_predictions as decode_predictions
from keras_cnns.pretrained.applications import preprocess_input as preprocess_input
from keras_cnns.serving.server import serve as serve
from keras_cnns.training.cross_validation import CrossValidation as CrossValidation
from keras_cnns.training.run import TrainedRun
from keras_cnns.writing.report import Report as Report
from keras_cnns.writing.report import report as report
from keras_cnns.writing.reproducing import Reproduction as Reproduction
from keras_cnns.writing.reproducing import reproduce as reproduce

__version__: str
_Alexnet: TypeAlias = Literal[
    "alexnet", "alexnet-ungrouped", "alexnet-caffe", "caffenet", "alexnet-owt", "alexnet-small"
]
_Densenet: TypeAlias = Literal[
    "densenet121",
    "densenet169",
    "densenet201",
    "densenet161",
    "densenet264",
    "densenet-40",
    "densenet-100",
    "densenet-100-k24",
    "densenet-bc-40",
    "densenet-bc-100",
    "densenet-bc-250-k24",
    "densenet-bc-190-k40",
]
_Googlenet: TypeAlias = Literal["googlenet", "googlenet-bn", "googlenet-caffe", "googlenet-torchvision"]
_Lenet: TypeAlias = Literal["lenet5", "lenet5-32", "lenet5-1998", "lenet5-1998-softmax", "lenet-caffe"]
_Nin: TypeAlias = Literal["nin-cifar", "nin-cifar-bn", "nin-imagenet"]
_Resnet: TypeAlias = Literal[
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "resnet200",
    "resnet50-v1.5",
    "resnet101-v1.5",
    "resnet152-v1.5",
    "resnet200-v1.5",
    "plain18",
    "plain34",
    "resnet18-v2",
    "resnet34-v2",
    "resnet50-v2",
    "resnet101-v2",
    "resnet152-v2",
    "resnet200-v2",
    "resnet50-keras",
    "resnet101-keras",
    "resnet152-keras",
    "resnet50-v2-keras",
    "resnet101-v2-keras",
    "resnet152-v2-keras",
    "resnet-cifar-20",
    "resnet-cifar-32",
    "resnet-cifar-44",
    "resnet-cifar-56",
    "resnet-cifar-110",
    "resnet-cifar-1202",
    "plain-cifar-20",
    "plain-cifar-32",
    "plain-cifar-44",
    "plain-cifar-56",
    "resnet-cifar-20-v2",
    "resnet-cifar-32-v2",
    "resnet-cifar-44-v2",
    "resnet-cifar-56-v2",
    "resnet-cifar-110-v2",
    "resnet-cifar-164-v2",
    "resnet-cifar-1001-v2",
]
_Vgg: TypeAlias = Literal[
    "vgg11",
    "vgg13",
    "vgg16",
    "vgg19",
    "vgg11-bn",
    "vgg13-bn",
    "vgg16-bn",
    "vgg19-bn",
    "vgg11-lrn",
    "vgg16-c",
    "vgg16-c-bn",
    "vgg-small",
]
_Network: TypeAlias = _Alexnet | _Densenet | _Googlenet | _Lenet | _Nin | _Resnet | _Vgg

@overload
def build(
    name: _Alexnet,
    *,
    input_shape: ImageShape | None = ...,
    classes: int | None = ...,
    classifier_activation: str | None = ...,
    include_top: bool = ...,
    pooling: str | None = ...,
    input_tensor: KerasTensor | None = ...,
    weights: str | os.PathLike[str] | None = ...,
    tracking_uri: str | None = ...,
    widths: tuple[int, ...] | list[int] = ...,
    groups: int = ...,
    first_kernel_size: int = ...,
    first_strides: int = ...,
    first_padding: int = ...,
    normalization: Literal["lrn", "batch_norm", "none"] = ...,
    normalization_constants: Literal["paper", "caffe"] = ...,
    pool_first: bool = ...,
    dense_width: int = ...,
    dropout: float = ...,
    dropout_first: bool = ...,
    initializer: Literal["normal", "he"] = ...,
    initial_bias: float = ...,
    batch_norm_epsilon: float = ...,
) -> Model: ...
@overload
def build(
    name: _Densenet,
    *,
    input_shape: ImageShape | None = ...,
    classes: int | None = ...,
    classifier_activation: str | None = ...,
    include_top: bool = ...,
    pooling: str | None = ...,
    input_tensor: KerasTensor | None = ...,
    weights: str | os.PathLike[str] | None = ...,
    tracking_uri: str | None = ...,
    blocks: tuple[int, ...] | list[int] = ...,
    growth_rate: int = ...,
    bottleneck_width: int | None = ...,
    compression: float = ...,
    stem: Literal["imagenet", "cifar"] = ...,
    stem_width: int | None = ...,
    dropout: float = ...,
    transition_relu: bool = ...,
    recompute: bool = ...,
    batch_norm_epsilon: float = ...,
) -> Model: ...
@overload
def build(
    name: _Googlenet,
    *,
    input_shape: ImageShape | None = ...,
    classes: int | None = ...,
    classifier_activation: str | None = ...,
    include_top: bool = ...,
    pooling: str | None = ...,
    input_tensor: KerasTensor | None = ...,
    weights: str | os.PathLike[str] | None = ...,
    tracking_uri: str | None = ...,
    modules: tuple[int, ...] | list[int] = ...,
    module: Literal["reduction", "naive"] = ...,
    width_multiplier: float = ...,
    bottleneck_multiplier: float = ...,
    pool_projection_multiplier: float = ...,
    large_kernel_size: Literal[5, 3] = ...,
    normalization: Literal["lrn", "batch_norm", "none"] = ...,
    normalization_constants: Literal["paper", "caffe"] = ...,
    last_pool_size: Literal[3, 2] = ...,
    dropout: float = ...,
    auxiliary_classifiers: bool = ...,
    auxiliary_after: tuple[int, ...] | list[int] = ...,
    auxiliary_weight: float = ...,
    auxiliary_pool: Literal["paper", "adaptive"] = ...,
    auxiliary_dropout: float = ...,
    batch_norm_epsilon: float = ...,
) -> Model: ...
@overload
def build(
    name: _Lenet,
    *,
    input_shape: ImageShape | None = ...,
    classes: int | None = ...,
    classifier_activation: str | None = ...,
    include_top: bool = ...,
    pooling: str | None = ...,
    input_tensor: KerasTensor | None = ...,
    weights: str | os.PathLike[str] | None = ...,
    tracking_uri: str | None = ...,
    convolution_widths: tuple[int, ...] | list[int] = ...,
    hidden_width: int = ...,
    kernel_size: int = ...,
    first_padding: Literal["valid", "same"] = ...,
    connections: Literal["partial", "full"] = ...,
    subsampling: Literal["trainable", "average", "max"] = ...,
    activation: Literal["scaled_tanh", "tanh", "sigmoid", "relu", "gelu"] = ...,
    convolution_activation: Literal["as_hidden", "none"] = ...,
    output: Literal["radial_basis", "dense"] = ...,
    dropout: float = ...,
) -> Model: ...
@overload
def build(
    name: _Nin,
    *,
    input_shape: ImageShape | None = ...,
    classes: int | None = ...,
    classifier_activation: str | None = ...,
    include_top: bool = ...,
    pooling: str | None = ...,
    input_tensor: KerasTensor | None = ...,
    weights: str | os.PathLike[str] | None = ...,
    tracking_uri: str | None = ...,
    widths: tuple[int, ...] | list[int] = ...,
    kernel_sizes: tuple[int, ...] | list[int] = ...,
    hidden_widths: tuple[int, ...] | list[int] = ...,
    output_widths: tuple[int, ...] | list[int] = ...,
    pointwise_layers: int = ...,
    pools: tuple[Literal["max", "average"], ...] | list[Literal["max", "average"]] = ...,
    first_strides: int = ...,
    first_padding: int | None = ...,
    dropout: float = ...,
    dropout_after: Literal["every", "last"] = ...,
    final_relu: bool = ...,
    batch_norm: bool = ...,
    batch_norm_epsilon: float = ...,
    initializer: Literal["normal", "he"] = ...,
) -> Model: ...
@overload
def build(
    name: _Resnet,
    *,
    input_shape: ImageShape | None = ...,
    classes: int | None = ...,
    classifier_activation: str | None = ...,
    include_top: bool = ...,
    pooling: str | None = ...,
    input_tensor: KerasTensor | None = ...,
    weights: str | os.PathLike[str] | None = ...,
    tracking_uri: str | None = ...,
    units: tuple[int, ...] | list[int] = ...,
    widths: tuple[int, ...] | list[int] = ...,
    unit: Literal["basic", "bottleneck"] = ...,
    expansion: int = ...,
    groups: int = ...,
    pre_activation: bool = ...,
    shortcut: Literal["A", "B", "C", "none"] = ...,
    stride_in: Literal["1x1", "3x3"] = ...,
    downsampling: Literal["first", "last"] = ...,
    stem: Literal["imagenet", "cifar"] = ...,
    stem_width: int = ...,
    stem_pool: Literal["ceil", "padded"] = ...,
    stem_activation: bool = ...,
    biases: Literal["none", "all", "unnormalized"] = ...,
    batch_norm_epsilon: float = ...,
) -> Model: ...
@overload
def build(
    name: _Vgg,
    *,
    input_shape: ImageShape | None = ...,
    classes: int | None = ...,
    classifier_activation: str | None = ...,
    include_top: bool = ...,
    pooling: str | None = ...,
    input_tensor: KerasTensor | None = ...,
    weights: str | os.PathLike[str] | None = ...,
    tracking_uri: str | None = ...,
    convolutions: tuple[int, ...] | list[int] = ...,
    widths: tuple[int, ...] | list[int] = ...,
    last_kernel_size: Literal[3, 1] = ...,
    normalization: Literal["none", "batch_norm", "lrn"] = ...,
    normalization_constants: Literal["paper", "caffe"] = ...,
    classifier: Literal["dense", "global_average"] = ...,
    dense_width: int = ...,
    dropout: float = ...,
    batch_norm_epsilon: float = ...,
) -> Model: ...
@overload
def build(
    name: str,
    *,
    input_shape: ImageShape | None = ...,
    classes: int | None = ...,
    classifier_activation: str | None = ...,
    include_top: bool = ...,
    pooling: str | None = ...,
    input_tensor: KerasTensor | None = ...,
    weights: str | os.PathLike[str] | None = ...,
    tracking_uri: str | None = ...,
) -> Model: ...
@overload
def count(
    name: _Alexnet,
    *,
    input_shape: tuple[int, int, int] | None = ...,
    classes: int | None = ...,
    widths: tuple[int, ...] | list[int] = ...,
    groups: int = ...,
    first_kernel_size: int = ...,
    first_strides: int = ...,
    first_padding: int = ...,
    normalization: Literal["lrn", "batch_norm", "none"] = ...,
    normalization_constants: Literal["paper", "caffe"] = ...,
    pool_first: bool = ...,
    dense_width: int = ...,
    dropout: float = ...,
    dropout_first: bool = ...,
    initializer: Literal["normal", "he"] = ...,
    initial_bias: float = ...,
    batch_norm_epsilon: float = ...,
) -> Counts: ...
@overload
def count(
    name: _Densenet,
    *,
    input_shape: tuple[int, int, int] | None = ...,
    classes: int | None = ...,
    blocks: tuple[int, ...] | list[int] = ...,
    growth_rate: int = ...,
    bottleneck_width: int | None = ...,
    compression: float = ...,
    stem: Literal["imagenet", "cifar"] = ...,
    stem_width: int | None = ...,
    dropout: float = ...,
    transition_relu: bool = ...,
    recompute: bool = ...,
    batch_norm_epsilon: float = ...,
) -> Counts: ...
@overload
def count(
    name: _Googlenet,
    *,
    input_shape: tuple[int, int, int] | None = ...,
    classes: int | None = ...,
    modules: tuple[int, ...] | list[int] = ...,
    module: Literal["reduction", "naive"] = ...,
    width_multiplier: float = ...,
    bottleneck_multiplier: float = ...,
    pool_projection_multiplier: float = ...,
    large_kernel_size: Literal[5, 3] = ...,
    normalization: Literal["lrn", "batch_norm", "none"] = ...,
    normalization_constants: Literal["paper", "caffe"] = ...,
    last_pool_size: Literal[3, 2] = ...,
    dropout: float = ...,
    auxiliary_classifiers: bool = ...,
    auxiliary_after: tuple[int, ...] | list[int] = ...,
    auxiliary_weight: float = ...,
    auxiliary_pool: Literal["paper", "adaptive"] = ...,
    auxiliary_dropout: float = ...,
    batch_norm_epsilon: float = ...,
) -> Counts: ...
@overload
def count(
    name: _Lenet,
    *,
    input_shape: tuple[int, int, int] | None = ...,
    classes: int | None = ...,
    convolution_widths: tuple[int, ...] | list[int] = ...,
    hidden_width: int = ...,
    kernel_size: int = ...,
    first_padding: Literal["valid", "same"] = ...,
    connections: Literal["partial", "full"] = ...,
    subsampling: Literal["trainable", "average", "max"] = ...,
    activation: Literal["scaled_tanh", "tanh", "sigmoid", "relu", "gelu"] = ...,
    convolution_activation: Literal["as_hidden", "none"] = ...,
    output: Literal["radial_basis", "dense"] = ...,
    dropout: float = ...,
) -> Counts: ...
@overload
def count(
    name: _Nin,
    *,
    input_shape: tuple[int, int, int] | None = ...,
    classes: int | None = ...,
    widths: tuple[int, ...] | list[int] = ...,
    kernel_sizes: tuple[int, ...] | list[int] = ...,
    hidden_widths: tuple[int, ...] | list[int] = ...,
    output_widths: tuple[int, ...] | list[int] = ...,
    pointwise_layers: int = ...,
    pools: tuple[Literal["max", "average"], ...] | list[Literal["max", "average"]] = ...,
    first_strides: int = ...,
    first_padding: int | None = ...,
    dropout: float = ...,
    dropout_after: Literal["every", "last"] = ...,
    final_relu: bool = ...,
    batch_norm: bool = ...,
    batch_norm_epsilon: float = ...,
    initializer: Literal["normal", "he"] = ...,
) -> Counts: ...
@overload
def count(
    name: _Resnet,
    *,
    input_shape: tuple[int, int, int] | None = ...,
    classes: int | None = ...,
    units: tuple[int, ...] | list[int] = ...,
    widths: tuple[int, ...] | list[int] = ...,
    unit: Literal["basic", "bottleneck"] = ...,
    expansion: int = ...,
    groups: int = ...,
    pre_activation: bool = ...,
    shortcut: Literal["A", "B", "C", "none"] = ...,
    stride_in: Literal["1x1", "3x3"] = ...,
    downsampling: Literal["first", "last"] = ...,
    stem: Literal["imagenet", "cifar"] = ...,
    stem_width: int = ...,
    stem_pool: Literal["ceil", "padded"] = ...,
    stem_activation: bool = ...,
    biases: Literal["none", "all", "unnormalized"] = ...,
    batch_norm_epsilon: float = ...,
) -> Counts: ...
@overload
def count(
    name: _Vgg,
    *,
    input_shape: tuple[int, int, int] | None = ...,
    classes: int | None = ...,
    convolutions: tuple[int, ...] | list[int] = ...,
    widths: tuple[int, ...] | list[int] = ...,
    last_kernel_size: Literal[3, 1] = ...,
    normalization: Literal["none", "batch_norm", "lrn"] = ...,
    normalization_constants: Literal["paper", "caffe"] = ...,
    classifier: Literal["dense", "global_average"] = ...,
    dense_width: int = ...,
    dropout: float = ...,
    batch_norm_epsilon: float = ...,
) -> Counts: ...
@overload
def count(name: str, *, input_shape: tuple[int, int, int] | None = ..., classes: int | None = ...) -> Counts: ...
@overload
def cross_validate(
    model: _Network,
    data: str | Dataset = ...,
    *,
    folds: int = ...,
    fold_by: str | None = ...,
    settings: Mapping[str, object] | None = ...,
    recipe: Recipe | str = ...,
    weights: str | os.PathLike[str] | None = ...,
    seed: int = ...,
    resume: bool = ...,
    experiment: str = ...,
    tracking_uri: str | None = ...,
    folder: str | Path = ...,
    progress: bool | Progress = ...,
) -> CrossValidation: ...
@overload
def cross_validate(
    model: str,
    data: str | Dataset = ...,
    *,
    folds: int = ...,
    fold_by: str | None = ...,
    settings: Mapping[str, object] | None = ...,
    recipe: Recipe | str = ...,
    weights: str | os.PathLike[str] | None = ...,
    seed: int = ...,
    resume: bool = ...,
    experiment: str = ...,
    tracking_uri: str | None = ...,
    folder: str | Path = ...,
    progress: bool | Progress = ...,
) -> CrossValidation: ...
@overload
def describe(
    name: _Alexnet,
    *,
    input_shape: tuple[int, int, int] | None = ...,
    classes: int | None = ...,
    widths: tuple[int, ...] | list[int] = ...,
    groups: int = ...,
    first_kernel_size: int = ...,
    first_strides: int = ...,
    first_padding: int = ...,
    normalization: Literal["lrn", "batch_norm", "none"] = ...,
    normalization_constants: Literal["paper", "caffe"] = ...,
    pool_first: bool = ...,
    dense_width: int = ...,
    dropout: float = ...,
    dropout_first: bool = ...,
    initializer: Literal["normal", "he"] = ...,
    initial_bias: float = ...,
    batch_norm_epsilon: float = ...,
) -> Description: ...
@overload
def describe(
    name: _Densenet,
    *,
    input_shape: tuple[int, int, int] | None = ...,
    classes: int | None = ...,
    blocks: tuple[int, ...] | list[int] = ...,
    growth_rate: int = ...,
    bottleneck_width: int | None = ...,
    compression: float = ...,
    stem: Literal["imagenet", "cifar"] = ...,
    stem_width: int | None = ...,
    dropout: float = ...,
    transition_relu: bool = ...,
    recompute: bool = ...,
    batch_norm_epsilon: float = ...,
) -> Description: ...
@overload
def describe(
    name: _Googlenet,
    *,
    input_shape: tuple[int, int, int] | None = ...,
    classes: int | None = ...,
    modules: tuple[int, ...] | list[int] = ...,
    module: Literal["reduction", "naive"] = ...,
    width_multiplier: float = ...,
    bottleneck_multiplier: float = ...,
    pool_projection_multiplier: float = ...,
    large_kernel_size: Literal[5, 3] = ...,
    normalization: Literal["lrn", "batch_norm", "none"] = ...,
    normalization_constants: Literal["paper", "caffe"] = ...,
    last_pool_size: Literal[3, 2] = ...,
    dropout: float = ...,
    auxiliary_classifiers: bool = ...,
    auxiliary_after: tuple[int, ...] | list[int] = ...,
    auxiliary_weight: float = ...,
    auxiliary_pool: Literal["paper", "adaptive"] = ...,
    auxiliary_dropout: float = ...,
    batch_norm_epsilon: float = ...,
) -> Description: ...
@overload
def describe(
    name: _Lenet,
    *,
    input_shape: tuple[int, int, int] | None = ...,
    classes: int | None = ...,
    convolution_widths: tuple[int, ...] | list[int] = ...,
    hidden_width: int = ...,
    kernel_size: int = ...,
    first_padding: Literal["valid", "same"] = ...,
    connections: Literal["partial", "full"] = ...,
    subsampling: Literal["trainable", "average", "max"] = ...,
    activation: Literal["scaled_tanh", "tanh", "sigmoid", "relu", "gelu"] = ...,
    convolution_activation: Literal["as_hidden", "none"] = ...,
    output: Literal["radial_basis", "dense"] = ...,
    dropout: float = ...,
) -> Description: ...
@overload
def describe(
    name: _Nin,
    *,
    input_shape: tuple[int, int, int] | None = ...,
    classes: int | None = ...,
    widths: tuple[int, ...] | list[int] = ...,
    kernel_sizes: tuple[int, ...] | list[int] = ...,
    hidden_widths: tuple[int, ...] | list[int] = ...,
    output_widths: tuple[int, ...] | list[int] = ...,
    pointwise_layers: int = ...,
    pools: tuple[Literal["max", "average"], ...] | list[Literal["max", "average"]] = ...,
    first_strides: int = ...,
    first_padding: int | None = ...,
    dropout: float = ...,
    dropout_after: Literal["every", "last"] = ...,
    final_relu: bool = ...,
    batch_norm: bool = ...,
    batch_norm_epsilon: float = ...,
    initializer: Literal["normal", "he"] = ...,
) -> Description: ...
@overload
def describe(
    name: _Resnet,
    *,
    input_shape: tuple[int, int, int] | None = ...,
    classes: int | None = ...,
    units: tuple[int, ...] | list[int] = ...,
    widths: tuple[int, ...] | list[int] = ...,
    unit: Literal["basic", "bottleneck"] = ...,
    expansion: int = ...,
    groups: int = ...,
    pre_activation: bool = ...,
    shortcut: Literal["A", "B", "C", "none"] = ...,
    stride_in: Literal["1x1", "3x3"] = ...,
    downsampling: Literal["first", "last"] = ...,
    stem: Literal["imagenet", "cifar"] = ...,
    stem_width: int = ...,
    stem_pool: Literal["ceil", "padded"] = ...,
    stem_activation: bool = ...,
    biases: Literal["none", "all", "unnormalized"] = ...,
    batch_norm_epsilon: float = ...,
) -> Description: ...
@overload
def describe(
    name: _Vgg,
    *,
    input_shape: tuple[int, int, int] | None = ...,
    classes: int | None = ...,
    convolutions: tuple[int, ...] | list[int] = ...,
    widths: tuple[int, ...] | list[int] = ...,
    last_kernel_size: Literal[3, 1] = ...,
    normalization: Literal["none", "batch_norm", "lrn"] = ...,
    normalization_constants: Literal["paper", "caffe"] = ...,
    classifier: Literal["dense", "global_average"] = ...,
    dense_width: int = ...,
    dropout: float = ...,
    batch_norm_epsilon: float = ...,
) -> Description: ...
@overload
def describe(
    name: str, *, input_shape: tuple[int, int, int] | None = ..., classes: int | None = ...
) -> Description: ...
@overload
def train(
    model: _Network,
    data: str | Dataset = ...,
    *,
    settings: Mapping[str, object] | None = ...,
    recipe: Recipe | str = ...,
    weights: str | os.PathLike[str] | None = ...,
    seed: int = ...,
    resume: bool = ...,
    test: bool = ...,
    experiment: str = ...,
    tracking_uri: str | None = ...,
    folder: str | Path = ...,
    progress: bool | Progress = ...,
    callbacks: Sequence[keras.callbacks.Callback] = ...,
) -> TrainedRun: ...
@overload
def train(
    model: str,
    data: str | Dataset = ...,
    *,
    settings: Mapping[str, object] | None = ...,
    recipe: Recipe | str = ...,
    weights: str | os.PathLike[str] | None = ...,
    seed: int = ...,
    resume: bool = ...,
    test: bool = ...,
    experiment: str = ...,
    tracking_uri: str | None = ...,
    folder: str | Path = ...,
    progress: bool | Progress = ...,
    callbacks: Sequence[keras.callbacks.Callback] = ...,
) -> TrainedRun: ...

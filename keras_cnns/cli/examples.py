"""Examples of every command, which its help shows."""

from __future__ import annotations

from collections.abc import Mapping

EXAMPLES: Mapping[str, tuple[str, ...]] = {
    "train": (
        "keras-cnns train densenet-bc-40 --data photos/ --image-size 64 --recipe modern",
        "keras-cnns train resnet50-v1.5 --data photos/ --weights imagenet --recipe finetune",
        "keras-cnns train lenet5-32 --data cases.csv --image-size 32 --folds 5",
        "keras-cnns train --config run.toml --seed 1",
    ),
    "sweep": (
        "keras-cnns sweep densenet --data photos/ --image-size 64 --trials 24 --epochs 10",
        "keras-cnns sweep all --data photos/ --image-size 64 --max-parameters 1M --refit",
        "keras-cnns sweep resnet18 --data photos/ --set learning_rate=1e-4..1e-2",
    ),
    "compare": (
        "keras-cnns compare sweep --sort val_auc --cost macs --plot comparison.png",
        "keras-cnns compare lenet5 resnet-cifar-20 --split test",
        "keras-cnns compare --where \"parameters < 1e6 and family == 'densenet'\"",
    ),
    "evaluate": (
        "keras-cnns evaluate 3f2a91c0 --report result.html",
        "keras-cnns evaluate 3f2a91c0 --data other-hospital/ --split all --at-sensitivity 0.95",
    ),
    "predict": (
        "keras-cnns predict 3f2a91c0 new/ > predictions.csv",
        "keras-cnns predict 3f2a91c0 scan.dcm --confidence-level 0.9 --json",
    ),
    "explain": (
        "keras-cnns explain 3f2a91c0 new/ --output heatmaps",
        "keras-cnns explain 3f2a91c0 scan.png --output heatmaps --method grad-cam++ --check",
    ),
    "export": (
        "keras-cnns export 3f2a91c0 --format onnx --format litert --fold-batch-norm",
        "keras-cnns export 3f2a91c0 --format all --quantize int8 --benchmark",
    ),
    "serve": (
        "keras-cnns serve 3f2a91c0",
        "keras-cnns serve models:/sweep-densenet-photos@champion --port 8888 --show-training-cases",
    ),
    "report": (
        "keras-cnns report 3f2a91c0 --format tex",
        "keras-cnns report 3f2a91c0 --output write-up/article.docx --format docx",
    ),
    "reproduce": (
        "keras-cnns reproduce write-up-3f2a91c0/lock.json",
        "keras-cnns reproduce lock.json --data /mnt/photos",
    ),
    "config": (
        "keras-cnns config 3f2a91c0 > run.toml",
        "keras-cnns config 3f2a91c0 --tracking-uri http://mlflow.example:5000 > run.toml",
    ),
    "inspect": (
        "keras-cnns inspect photos/ --image-size 64 --sheet sheet.png",
        'keras-cnns inspect "cases.csv?label=finding" --write clean.csv',
    ),
    "models": (
        "keras-cnns models",
        "keras-cnns models 'resnet*' --max-parameters 1M",
    ),
    "describe": (
        "keras-cnns describe googlenet",
        "keras-cnns describe densenet121 --set growth_rate=24 --image-size 64 --classes 2",
    ),
    "profile": (
        "keras-cnns profile resnet50",
        "keras-cnns profile densenet121 --by layer --plot costs.png",
    ),
    "completion": (
        "keras-cnns completion bash > ~/.local/share/bash-completion/completions/keras-cnns",
        "keras-cnns completion fish > ~/.config/fish/completions/keras-cnns.fish",
        "keras-cnns completion zsh > ~/.zfunc/_keras-cnns",
    ),
}
"""At least two examples by command."""

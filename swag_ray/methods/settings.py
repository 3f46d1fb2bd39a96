"""The settings of fold models, from a config."""

from __future__ import annotations

from swag_ray.config import Config
from swag_ray.core.head import HeadSettings
from swag_ray.core.schedule import AdapterSettings
from swag_ray.models.fold_adapter import PublishedSettings
from swag_ray.models.fold_bank import BankSettings
from swag_ray.models.fold_head import ContrastSettings


def bank_settings(config: Config) -> BankSettings:
    return BankSettings(
        config.memory.strides,
        config.memory.coreset_ratio,
        config.memory.whitening,
        config.score.neighbours,
        config.score.top_fraction,
        config.memory.max_rows,
    )


def contrast_settings(config: Config) -> ContrastSettings:
    h = config.head
    fit = HeadSettings(
        learning_rate=h.learning_rate, weight_decay=h.weight_decay, warmup_epochs=h.warmup_epochs,
        swag_epochs=h.swag_epochs, max_columns=config.swag.max_columns, collect_every=config.swag.collect_every,
    )  # fmt: skip
    return ContrastSettings(config.backbone.strides, h.grid, config.swag.samples, fit)


def adapter_settings(config: Config) -> AdapterSettings:
    a = config.adapter
    return AdapterSettings(
        warmup_epochs=a.warmup_epochs, round_epochs=a.round_epochs, warmup_learning_rate=a.warmup_learning_rate,
        learning_rate=a.learning_rate, max_columns=config.swag.max_columns, collect_every=config.swag.collect_every,
    )  # fmt: skip


def published_settings(config: Config) -> PublishedSettings:
    return PublishedSettings(bank_settings(config), config.adapter.dim, adapter_settings(config), config.swag.samples)

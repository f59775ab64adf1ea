"""Fitted coefficients: what keeps real systems below their datasheets.

Read from ``data/coefficients/``, written by :mod:`cpi_model.studies.calibrate`: TOML, and for the
thousands of factors of single pairings, which TOML takes long to read, CSV. A chip without
measurements borrows from its generation, a generation without them from the default.
"""

from __future__ import annotations

import csv
import math
import tomllib
from dataclasses import dataclass, fields
from datetime import date
from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import Field

from cpi_model.catalog import data_folder
from cpi_model.schema import Accelerator, Model, Precision, Share, Sourced, Strict

Efficiency = Annotated[float, Field(gt=0, le=1)]
Time = Annotated[float, Field(ge=0)]


class ChipCoefficients(Strict):
    """Of one generation of chips."""

    compute_efficiency: dict[Precision, Efficiency]
    """Share of the dense peak that saturated matrix multiplications reach."""
    half_tokens: Annotated[float, Field(ge=0)]
    """Tokens in a multiplication at which half of that is reached."""
    expert_efficiency: dict[Precision, Efficiency]
    """Share of the dense peak that saturated multiplications of experts reach."""
    expert_half_tokens: Annotated[float, Field(ge=0)]
    """Tokens of one expert at which half of that is reached."""
    attention_efficiency: Efficiency
    """Share of the 16-bit peak that attention reaches when it reads prompts."""
    decode_attention_efficiency: Efficiency
    """The same when it decodes."""
    memory_efficiency: Efficiency
    """Share of the bandwidth when reading weights."""
    expert_memory_efficiency: Efficiency
    """Share of the bandwidth when reading weights of experts."""
    cache_efficiency: Efficiency
    """Share of the bandwidth when reading keys and values."""
    link_efficiency: Efficiency
    """Share of the link bandwidth in collectives."""
    collective_latency_us: Time
    """Start of one collective."""
    rows: int = Field(ge=0, default=0)
    """Measured runs behind these figures."""


class EngineCoefficients(Strict):
    """Of one engine, for language models."""

    layer_overhead_us: Time
    """Per layer and step, launches included."""
    step_overhead_us: Time
    """Per step: scheduling, sampling, detokenising."""
    sequence_overhead_us: Time
    """Per step and running sequence."""
    prefill_interference: Annotated[float, Field(ge=0, le=2)]
    """Share of other prompts' time that delays decoding."""
    ttft_prefill: Annotated[float, Field(ge=0)]
    """Multiple of a prompt's own time until its first token."""
    ttft_burst: Annotated[float, Field(ge=0, le=1)]
    """Share of the other prompts' time waited for at any load: some arrive together."""
    ttft_queue: Annotated[float, Field(ge=0, le=1)]
    """The same for each part of the time that goes to prompts."""
    ttft_step: Annotated[float, Field(ge=0)]
    """Decode steps waited for; answers that are sent every few tokens wait for those."""
    ttft_start_ms: Time
    """Receiving and tokenising before a prompt is begun."""
    host_us: Time
    """Of the host per request, one after another."""
    output_reserve: Share
    """Share of the output for which cache is set aside when a request is let in."""
    rows: int = Field(ge=0, default=0)


class GeneralCoefficients(Strict):
    """Of all chips and engines, for language models."""

    expert_layer_overhead: Annotated[float, Field(ge=0)]
    """Overhead of a layer with experts over that of a dense one, additional."""
    latent_layer_overhead: Annotated[float, Field(ge=0)]
    """The same for latent attention."""
    linear_layer_overhead: Annotated[float, Field(ge=0)]
    """The same for models with linear attention."""
    activation_passes: Annotated[float, Field(ge=0)]
    """Times that a layer writes and reads a vector of the model's width for a token."""
    expert_activation_passes: Annotated[float, Field(ge=0)]
    """The same for each expert that a token is sent to."""
    ttft_copies: Annotated[float, Field(ge=0)]
    """Share by which the time to first token is longer where copies of the attention layers, which
    exchange tokens of experts, begin their prompts together."""
    slow_link_efficiency: Efficiency
    """Share of the bandwidth between servers in collectives."""
    slow_collective_latency_us: Time
    """Start of one collective between servers."""


class Pairing(Strict):
    """What was measured for one pairing, over the general coefficients; 1 is no difference.

    Named by what it belongs to: ``model/engine``, ``model/chip/engine`` or
    ``model/chip/engine/scheme``, or a model alone. Models of one architecture share a name.
    """

    fixed: Annotated[float, Field(gt=0)] = 1.0
    """On the part of a step's time that does not grow with the requests."""
    sequence: Annotated[float, Field(gt=0)] = 1.0
    """On the part that does."""
    prompt: Annotated[float, Field(gt=0)] = 1.0
    """On the time of a prompt."""
    ttft_prefill: Annotated[float, Field(gt=0)] = 1.0
    """On the own prompt's part of the time to first token."""
    ttft_burst: Annotated[float, Field(gt=0)] = 1.0
    """On the other prompts' time waited for at any load."""
    ttft_step: Annotated[float, Field(gt=0)] = 1.0
    """On the decode steps waited for before the first token."""
    ttft_start: Annotated[float, Field(gt=0)] = 1.0
    """On the time before a prompt is begun, in which a run may count its warming up."""
    streams: Annotated[float, Field(gt=0)] = 1.0
    """Batches worked on at a time, where requests take longer than throughput says."""
    reached: Annotated[float, Field(gt=0)] = 1.0
    """Share of the best throughput that is reached within a limit or at an offered load."""
    first: Annotated[float, Field(gt=0)] = 1.0
    """On the time to first token of other software, without moving anything else."""
    rows: int = Field(ge=0, default=0)
    rows_here: int = Field(ge=0, default=0)
    """Runs of this very model, chip and engine."""
    rows_near: int = Field(ge=0, default=0)
    """Runs on chips of the same generation."""


class SampleCoefficients(Strict):
    """Of one class of models that are evaluated by the sample."""

    compute_efficiency: Efficiency
    """Share of the dense peak at large batches, before the chip's own factor."""
    half_gflop: Annotated[float, Field(ge=0)]
    """Work in one pass, per 100 TFLOP/s of peak, at which half of that is reached."""
    memory_efficiency: Efficiency
    gather_efficiency: Efficiency
    batch_overhead_us: Time
    """Per batch: pre-processing, transfer, launch."""
    pass_overhead_us: Time
    """Per sequential pass."""
    latency_log_sd: Annotated[float, Field(ge=0)]
    rows: int = Field(ge=0, default=0)


class Expansion(Strict):
    """Weights that are expanded to a wider format before they are multiplied."""

    work: Annotated[float, Field(ge=1)] = 1.0
    """Time of a large multiplication over that of weights stored in the format."""
    flops_per_weight: Annotated[float, Field(ge=0)] = 0.0
    """Expanding a weight once in a pass, in operations at the 32-bit peak."""
    rows: int = Field(ge=0, default=0)


class NarrowWork(Strict):
    """Arithmetic of a format on one generation of chips, in samples."""

    work: Annotated[float, Field(gt=0)]
    """Time over what the general coefficients say."""
    rows: int = Field(ge=0, default=0)


class CompressionCoefficients(Strict):
    """What measured effects of compression say beyond the general coefficients.

    Written by :mod:`cpi_model.studies.effects`.
    """

    fitted_on: date
    description: str
    met_share: Share
    """Groups of evidence whose predicted median is within a fifth of the measured one."""
    met_left_out_share: Share
    """The same where each group was left out of the fit."""
    expansion: dict[str, Expansion]
    """By generation, or by kind of chip; ``gpu`` stands for every kind that is not there."""
    narrow: dict[str, NarrowWork]
    """By ``generation/format``."""

    def expansion_on(self, accelerator: Accelerator) -> Expansion:
        """What expanding weights costs on a chip."""
        found = self.expansion.get(accelerator.generation) or self.expansion.get(accelerator.kind)
        return found or self.expansion["gpu"]

    def narrow_work(self, accelerator: Accelerator, arithmetic: str) -> float:
        """Arithmetic time of samples in a format over what the general coefficients say."""
        found = self.narrow.get(f"{accelerator.generation}/{arithmetic}")
        return 1.0 if found is None else found.work


class Residuals(Strict):
    """Spread of ln(measured/predicted) of one class of runs.

    ``class/measure`` is on the rows that were fitted; ``.../known`` on rows that were left out
    while others of the same model, chip and engine were not, ``.../unseen`` where none of those
    were in the fit, ``.../elsewhere`` where none on chips of their generation were.
    """

    rows: int = Field(ge=0)
    median_error: Annotated[float, Field(ge=0)]
    """Median of |measured/predicted - 1|."""
    p90_error: Annotated[float, Field(ge=0)]
    p10_ratio: Annotated[float, Field(gt=0)]
    """10th percentile of measured/predicted."""
    p90_ratio: Annotated[float, Field(gt=0)]


class Assumptions(Sourced):
    """Figures that no run measured."""

    workspace_gb: Time
    """Memory per device for graphs, activations and buffers of an engine for language models."""
    slow_link_gb_per_s: Annotated[float, Field(gt=0)]
    """Network between servers, per device, one direction."""
    unknown_link_gb_per_s: Annotated[float, Field(gt=0)]
    """Link of a chip whose maker publishes none."""
    ttft_log_sd: Time
    latency_log_sd: Time
    resident_activation_share: Share
    """Memory held at a time over activations moved in a pass, models evaluated by the sample."""
    idle_power_share: Share
    """Idle over peak power where it is not measured."""
    two_of_four_speedup: Annotated[float, Field(ge=1, le=2)]
    """Of saturated multiplications whose weights are two of four, over dense ones."""
    cpu_memory_gb: Annotated[float, Field(gt=0)]
    """Memory of a CPU socket that is not part of an instance."""
    ram_share_accelerated: Share
    """Part of an accelerated instance's price that pays for RAM."""
    accelerator_share: Share
    """Part of it that pays for accelerators."""
    device_memory_share: Share
    """Part of an accelerator that is its memory."""
    ram_share_cpu: Share
    """Part of a CPU instance's price that pays for RAM."""


class Coefficients(Strict):
    """All fitted figures, with what they were fitted on."""

    fitted_on: date
    description: str
    exponent: Annotated[float, Field(ge=1)]
    """Of the smooth maximum between arithmetic and memory time."""
    chips: dict[str, ChipCoefficients]
    """By generation; ``default`` where there is none."""
    engines: dict[str, EngineCoefficients]
    general: GeneralCoefficients
    pairings: dict[str, Pairing]
    """Of serving under a steady number of requests."""
    modes: dict[str, Pairing]
    """The same for runs of another kind, by the names of :func:`mode_names`."""
    samples: dict[str, SampleCoefficients]
    """By model class."""
    residuals: dict[str, Residuals]
    assumptions: Assumptions
    compression: CompressionCoefficients

    def chip(self, accelerator: Accelerator) -> ChipCoefficients:
        """Coefficients of a chip's generation, or of its kind, or the default."""
        for name in (accelerator.generation, accelerator.kind, "default"):
            if name in self.chips:
                return self.chips[name]
        raise KeyError(accelerator.generation)

    def engine(self, name: str) -> EngineCoefficients:
        """Coefficients of an engine, or the default."""
        return self.engines.get(name, self.engines["default"])

    def pairing(self, model: Model, accelerator: Accelerator, engine: str, scheme: str) -> Pairing:
        """Product of what was measured for a pairing and for the wider ones that it is part of."""
        names = pairing_names(model, accelerator, engine, scheme)
        found = [self.pairings.get(name) for name in names]
        return _product(found, here=found[2], near=self._rows_on(accelerator))

    def _rows_on(self, accelerator: Accelerator) -> int:
        """Runs of language models on chips of a generation."""
        chip = self.chips.get(accelerator.generation)
        return chip.rows if chip else 0

    def mode_pairing(
        self, model: Model, accelerator: Accelerator, arithmetic: str, engine: str, scheme: str,
        mode: str, software: str = "",
    ) -> Pairing:  # fmt: skip
        """The same for runs of another kind: ``static`` batches, ``offline`` maxima, ...

        `software` is the engine as a table of runs calls it, where that is another.
        """
        wide: tuple[Pairing | None, ...] = ()
        if model.transformer is not None:
            names = pairing_names(model, accelerator, engine, scheme)
            wide = tuple(self.pairings.get(name) for name in names[:2])
        others = mode_names(model, accelerator, arithmetic, engine, scheme, mode, software)
        found = [self.modes.get(getattr(others, field.name)) for field in fields(others)]
        here = self.modes.get(others.pairing_software) or self.modes.get(others.pairing)
        near = self.modes.get(others.generation)
        rows = self._rows_on(accelerator) if model.transformer else near.rows if near else 0
        return _product([*wide, *found], here, rows)

    def serving_pairing(
        self, model: Model, accelerator: Accelerator, arithmetic: str, engine: str, scheme: str
    ) -> tuple[str, Pairing]:
        """What serving a model is like, and the residuals that go with it.

        Language models under a steady load; others in batches, or where no batches were measured
        on such chips, as in offline maxima.
        """
        if model.transformer is not None:
            return "llm", self.pairing(model, accelerator, engine, scheme)
        for level in ("generation", "whole"):
            for mode in ("static", "offline"):
                names = mode_names(model, accelerator, arithmetic, engine, scheme, mode)
                if getattr(names, level) in self.modes:
                    return f"{model.model_class}-{mode}", self.mode_pairing(
                        model, accelerator, arithmetic, engine, scheme, mode
                    )
        return model.model_class, Pairing()

    def spread(self, kind: str, measure: str, pairing: Pairing) -> Residuals | None:
        """Spread of left-out runs of a kind: of measured pairings, of others on such chips, or on
        chips of no measured generation; None if unknown.

        A kind as from :meth:`serving_pairing`.
        """
        part = "known" if pairing.rows_here else "unseen" if pairing.rows_near else "elsewhere"
        for name in (f"{kind}/{measure}/{part}", f"{kind}/{measure}"):
            if (found := self.residuals.get(name)) is not None and found.rows:
                return found
        return None

    def sample(self, model_class: str) -> SampleCoefficients:
        """Coefficients of a class of models, or the default."""
        return self.samples.get(model_class, self.samples["default"])


def _product(each: list[Pairing | None], here: Pairing | None, near: int) -> Pairing:
    """All factors together; `here` is the one of the very model, chip and engine.

    `near` are the runs on chips of the same generation.
    """
    found = [one for one in each if one is not None]
    return Pairing(
        fixed=math.prod(one.fixed for one in found),
        sequence=math.prod(one.sequence for one in found),
        prompt=math.prod(one.prompt for one in found),
        ttft_prefill=math.prod(one.ttft_prefill for one in found),
        ttft_burst=math.prod(one.ttft_burst for one in found),
        ttft_step=math.prod(one.ttft_step for one in found),
        ttft_start=math.prod(one.ttft_start for one in found),
        streams=math.prod(one.streams for one in found),
        reached=math.prod(one.reached for one in found),
        first=math.prod(one.first for one in found),
        rows=max((one.rows for one in found), default=0),
        rows_here=here.rows if here else 0,
        rows_near=near,
    )


def pairing_names(
    model: Model, accelerator: Accelerator, engine: str, scheme: str
) -> tuple[str, str, str, str]:
    """Names of the pairings of one configuration, from the widest to the narrowest."""
    family = model.architecture_of or model.id
    chip = accelerator.id
    return (
        family,
        f"{family}/{engine}",
        f"{family}/{chip}/{engine}",
        f"{family}/{chip}/{engine}/{scheme}",
    )


@dataclass(frozen=True)
class ModeNames:
    """Names in ``modes`` of one run, from the widest to the narrowest; empty where it has none."""

    whole: str
    generation: str
    chip: str
    engine: str
    software: str
    family: str
    pairing: str
    pairing_software: str


def mode_names(
    model: Model, accelerator: Accelerator, arithmetic: str, engine: str, scheme: str, mode: str,
    software: str = "",
) -> ModeNames:  # fmt: skip
    """Names of what was measured in runs of one kind.

    Published names of software count beside the engine that they stand for.
    """
    family, chip, of = model.architecture_of or model.id, accelerator.id, model.model_class
    other = software if software != engine else ""
    return ModeNames(
        whole=f"{of}/{mode}",
        generation=f"{of}/{accelerator.generation}/{arithmetic}/{mode}",
        chip=f"{of}/{chip}/{mode}",
        engine=f"{of}/{engine}/{mode}",
        software=f"{of}/{other}/{mode}" if other else "",
        family=f"{family}/{mode}",
        pairing=f"{family}/{chip}/{engine}/{scheme}/{mode}",
        pairing_software=f"{family}/{chip}/{other}/{scheme}/{mode}" if other else "",
    )


FACTORS = ("pairings", "modes")
"""Fields that are files of their own, one pairing a row; an empty cell is the default."""


def load(folder: Path | None = None) -> Coefficients:
    """Read all files of coefficients into one object."""
    files = (folder or data_folder()) / "coefficients"
    merged: dict[str, object] = {}
    for path in sorted(files.glob("*.toml")):
        with path.open("rb") as toml:
            merged |= tomllib.load(toml)
    for name in FACTORS:
        with (files / f"{name}.csv").open(newline="", encoding="utf-8") as table:
            merged[name] = {
                row.pop("name"): {field: cell for field, cell in row.items() if cell}
                for row in csv.DictReader(table)
            }
    return Coefficients.model_validate(merged)


@cache
def coefficients() -> Coefficients:
    """The shipped coefficients, read once."""
    return load()

"""Parameters derived from the architectures in the catalog, against what the makers publish."""

from __future__ import annotations

import pytest

from cpi_model.catalog import catalog
from cpi_model.inputs import parameters
from cpi_model.units import BILLION

# Model, published total in billions, half of its last printed digit.
TOTALS = [
    # Touvron et al. 2023, Llama 2; sizes of the published weights, huggingface.co/meta-llama
    ("llama-2-7b", 6.74, 0.005),
    ("llama-2-13b", 13.0, 0.05),
    ("llama-2-70b", 69.0, 0.05),
    # Grattafiori et al. 2024, Llama 3; sizes of the published weights, huggingface.co/meta-llama
    ("llama-3.1-8b", 8.03, 0.005),
    ("llama-3.1-70b", 70.6, 0.05),
    ("llama-3.1-405b", 406, 0.5),
    # docs.mistral.ai, models overview, 2024: 46.7B and 140.6B
    ("mixtral-8x7b-v0.1", 46.7, 0.05),
    ("mixtral-8x22b-v0.1", 140.6, 0.05),
    # DeepSeek-AI 2024, arXiv:2412.19437; R1 and V3.2 have the same shape
    ("deepseek-v3", 671, 0.5),
    ("deepseek-r1", 671, 0.5),
    # Moonshot AI 2025, model card of Kimi K2
    ("kimi-k2-instruct", 1000, 50),
    # OpenAI 2025, arXiv:2508.10925, table 1. Expert biases (0.03 %) are not counted here.
    ("gpt-oss-120b", 116.83, 0.05),
    ("gpt-oss-20b", 20.91, 0.01),
    # Yang et al. 2025, arXiv:2505.09388, and the model cards of Qwen3
    ("qwen3-0.6b", 0.6, 0.05),
    ("qwen3-1.7b", 1.7, 0.05),
    ("qwen3-8b", 8.2, 0.05),
    ("qwen3-32b", 32.8, 0.05),
    ("qwen3-30b-a3b", 30.5, 0.05),
    ("qwen3-235b-a22b", 235, 0.5),
    ("qwen3-coder-480b-a35b-instruct", 480, 0.5),
    # Zhipu AI 2026, model card of GLM-5: 744B
    ("glm-5", 744, 1.0),
    # Model cards of Qwen3.5 (three layers of four with linear attention): 397B. The image encoder
    # is not counted here.
    ("qwen3.5-397b-a17b", 397, 2.0),
    # B. Wang, A. Komatsuzaki 2021, GPT-J-6B: 6,053,381,344
    ("gpt-j-6b", 6.05, 0.005),
]

# Model, published parameters used per token in billions, half of its last printed digit, and
# whether that figure counts the input embedding, of which a token reads one row only.
ACTIVE = [
    # docs.mistral.ai, models overview, 2024: 12.9B and 39.1B
    ("mixtral-8x7b-v0.1", 12.9, 0.05, True),
    ("mixtral-8x22b-v0.1", 39.1, 0.055, True),
    # DeepSeek-AI 2024, arXiv:2412.19437
    ("deepseek-v3", 37, 0.5, False),
    ("deepseek-r1", 37, 0.5, False),
    # Moonshot AI 2025, model card of Kimi K2
    ("kimi-k2-instruct", 32, 0.5, False),
    # OpenAI 2025, arXiv:2508.10925, table 1, which says what it counts
    ("gpt-oss-120b", 5.13, 0.01, False),
    ("gpt-oss-20b", 3.61, 0.01, False),
    # Model cards of Qwen3: 3.3B, 22B, 35B
    ("qwen3-30b-a3b", 3.3, 0.06, True),
    ("qwen3-235b-a22b", 22, 0.5, True),
    ("qwen3-coder-480b-a35b-instruct", 35, 0.5, True),
    # Zhipu AI 2026, model card of GLM-5: 40B
    ("glm-5", 40, 0.5, False),
    # Model card of Qwen3.5-397B-A17B
    ("qwen3.5-397b-a17b", 17, 0.5, True),
]


@pytest.mark.parametrize(("model", "billions", "tolerance"), TOTALS)
def test_total_parameters(model: str, billions: float, tolerance: float) -> None:
    derived = parameters(catalog().model(model))
    assert derived.total / BILLION == pytest.approx(billions, abs=tolerance)


@pytest.mark.parametrize(("model", "billions", "tolerance", "counts_embedding"), ACTIVE)
def test_active_parameters(
    model: str, billions: float, tolerance: float, counts_embedding: bool
) -> None:
    derived = parameters(catalog().model(model))
    used = derived.active + (derived.embedding if counts_embedding else 0.0)
    assert used / BILLION == pytest.approx(billions, abs=tolerance)


def test_every_language_model_agrees_with_its_published_size() -> None:
    wrong = []
    for model in catalog().models.values():
        derived = parameters(model)
        total, published = derived.total / BILLION, model.params_b
        if abs(total / published - 1) > 0.03:
            wrong.append(f"{model.id}: {total:.2f}B in all, published {published}B")
        if model.active_params_b is not None:
            # Makers differ in whether they count the embedding, and most round to whole billions.
            low = derived.active / BILLION
            high = low + derived.embedding / BILLION
            if not low * 0.95 - 0.5 <= model.active_params_b <= high * 1.05 + 0.5:
                wrong.append(f"{model.id}: {low:.2f}B to {high:.2f}B active, published "
                             f"{model.active_params_b}B")  # fmt: skip
    assert not wrong, "\n".join(wrong)


def test_parts_sum_to_the_total() -> None:
    for model in catalog().models.values():
        derived = parameters(model)
        parts = derived.dense + derived.experts + derived.embedding
        assert parts == pytest.approx(derived.total, rel=1e-12), model.id
        assert min(derived.dense, derived.experts, derived.embedding) >= 0, model.id
        assert 0 < derived.active <= derived.total, model.id

"""How many requests run together, and what that does to throughput and latency."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr

from cpi_model import checks
from cpi_model.units import Numeric


def mean_context(input_tokens: Numeric, output_tokens: Numeric) -> Numeric:
    r"""Tokens in the cache of a running sequence, averaged over its decoding.

    Parameters
    ----------
    input_tokens : numeric
        Prompt tokens of a request. [1]
    output_tokens : numeric
        Generated tokens of a request. [1]

    Returns
    -------
    context : numeric
        Mean cached tokens. [1]

    Raises
    ------
    ValueError
        If an argument is negative.

    Notes
    -----
    Sequences of a continuous batch are spread evenly over their length, so the mean is half way:

    .. math:: \bar c = I + O / 2

    References
    ----------
    .. [1] W. Kwon et al., "Efficient Memory Management for Large Language Model Serving with
       PagedAttention", SOSP 2023.

    Examples
    --------
    >>> mean_context(1000.0, 200.0)
    1100.0
    """
    checks.not_negative(input_tokens=input_tokens, output_tokens=output_tokens)
    return input_tokens + 0.5 * output_tokens


def sequences_that_fit(
    free_bytes: Numeric, bytes_per_sequence: Numeric, copies: Numeric
) -> Numeric:
    r"""Sequences whose cache fits in the memory that weights and workspace leave free.

    Parameters
    ----------
    free_bytes : numeric
        Memory left for the cache on one device; negative when the weights do not fit. [B]
    bytes_per_sequence : numeric
        Cache of one whole sequence on one device. [B]
    copies : numeric
        Attention data-parallel copies, each with a cache of its own. [1]

    Returns
    -------
    sequences : numeric
        Whole sequences over all copies, 0 when not even one fits. [1]

    Raises
    ------
    ValueError
        If `bytes_per_sequence` is negative or `copies` is below 1.

    Notes
    -----
    .. math:: n = d \left\lfloor \max(F, 0) / b \right\rfloor

    A cache of zero bytes (a model without one) fits any number of times: the result is infinite.

    References
    ----------
    .. [1] W. Kwon et al., "Efficient Memory Management for Large Language Model Serving with
       PagedAttention", SOSP 2023.

    Examples
    --------
    >>> float(sequences_that_fit(40e9, 131072.0 * 2000, 1.0))
    152.0
    """
    checks.not_negative(bytes_per_sequence=bytes_per_sequence)
    checks.at_least(1, copies=copies)
    with np.errstate(divide="ignore", invalid="ignore"):
        fit = np.floor(np.maximum(free_bytes, 0.0) / np.asarray(bytes_per_sequence, dtype=float))
    sequences: Numeric = copies * fit
    return sequences


def time_per_output_token(
    step_time: Numeric,
    prompt_time: Numeric,
    running: Numeric,
    output_tokens: Numeric,
    interference: Numeric,
) -> Numeric:
    r"""Mean time between two tokens of a sequence under continuous batching.

    While a sequence generates its output, every other running sequence is replaced once by a new
    one, whose prompt takes time from the decoding.

    Parameters
    ----------
    step_time : numeric
        One decode step of all running sequences. [s]
    prompt_time : numeric
        Time for which one prompt occupies the device. [s]
    running : numeric
        Sequences that run together. [1]
    output_tokens : numeric
        Generated tokens of a request. [1]
    interference : numeric
        Share of the prompts' time that decoding waits for: 1 without overlap. [1]

    Returns
    -------
    tpot : numeric
        Mean time per output token after the first. [s]

    Raises
    ------
    ValueError
        If a time or `interference` is negative, or `running` or `output_tokens` is below 1.

    Notes
    -----
    .. math:: \mathrm{TPOT} = t_d + \gamma\, t_p \frac{N - 1}{O}

    References
    ----------
    .. [1] A. Agrawal et al., "Taming Throughput-Latency Tradeoff in LLM Inference with
       Sarathi-Serve", OSDI 2024.

    Examples
    --------
    >>> time_per_output_token(0.010, 0.050, 21.0, 100.0, 1.0)
    0.02
    """
    checks.not_negative(step_time=step_time, prompt_time=prompt_time, interference=interference)
    checks.at_least(1, running=running, output_tokens=output_tokens)
    return step_time + interference * prompt_time * (running - 1.0) / output_tokens


def time_to_first_token(
    own_prompt_time: Numeric,
    prompt_time: Numeric,
    step_time: Numeric,
    running: Numeric,
    own_factor: Numeric,
    queue_factor: Numeric,
    step_factor: Numeric,
) -> Numeric:
    r"""Mean time to first token of a closed loop of requests under continuous batching.

    Parameters
    ----------
    own_prompt_time : numeric
        Time to read the request's own prompt. [s]
    prompt_time : numeric
        Time for which one prompt occupies the device. [s]
    step_time : numeric
        One decode step. [s]
    running : numeric
        Sequences that run together. [1]
    own_factor : numeric
        Multiple of the own prompt's time (chunks share their steps with decoding). [1]
    queue_factor : numeric
        Share of the other prompts that are ahead, averaged over the run. [1]
    step_factor : numeric
        Decode steps between arrival and the start of the prompt. [1]

    Returns
    -------
    ttft : numeric
        Mean time to first token. [s]

    Raises
    ------
    ValueError
        If a time or a factor is negative or `running` is below 1.

    Notes
    -----
    .. math:: \mathrm{TTFT} = a\, t_{own} + b\,(N - 1)\, t_p + c\, t_d

    The factors are fitted on measured closed loops, in which part of the requests arrive together
    when the run begins.

    References
    ----------
    .. [1] A. Agrawal et al., "Taming Throughput-Latency Tradeoff in LLM Inference with
       Sarathi-Serve", OSDI 2024.

    Examples
    --------
    >>> time_to_first_token(0.10, 0.10, 0.02, 11.0, 1.0, 0.1, 1.0)
    0.22
    """
    checks.not_negative(
        own_prompt_time=own_prompt_time, prompt_time=prompt_time, step_time=step_time,
        own_factor=own_factor, queue_factor=queue_factor, step_factor=step_factor,
    )  # fmt: skip
    checks.at_least(1, running=running)
    return (
        own_factor * own_prompt_time
        + queue_factor * (running - 1.0) * prompt_time
        + step_factor * step_time
    )


def prompt_share(
    prompt_time: Numeric, step_time: Numeric, running: Numeric, steps: Numeric
) -> Numeric:
    r"""Share of a replica's time that goes to prompts in a closed loop.

    Parameters
    ----------
    prompt_time : numeric
        Time for which one prompt occupies the device. [s]
    step_time : numeric
        One decode step of all running sequences. [s]
    running : numeric
        Sequences that run together. [1]
    steps : numeric
        Decode steps of one request, may be zero. [1]

    Returns
    -------
    share : numeric
        From 0 to 1. [1]

    Raises
    ------
    ValueError
        If a time or `steps` is negative or `running` is below 1.

    Notes
    -----
    While one sequence generates its output, each running one is replaced once:

    .. math:: \rho = \frac{N\,t_p}{N\,t_p + O\,t_d}

    References
    ----------
    .. [1] A. Agrawal et al., "Taming Throughput-Latency Tradeoff in LLM Inference with
       Sarathi-Serve", OSDI 2024.

    Examples
    --------
    >>> float(prompt_share(0.05, 0.01, 20.0, 100.0)), float(prompt_share(0.05, 0.01, 20.0, 0.0))
    (0.5, 1.0)
    """
    checks.not_negative(prompt_time=prompt_time, step_time=step_time, steps=steps)
    checks.at_least(1, running=running)
    prompts = running * prompt_time
    share: Numeric = prompts / np.maximum(prompts + steps * step_time, np.finfo(float).tiny)
    return share


def prompt_bound_time(request_time: Numeric, prompt_time: Numeric, running: Numeric) -> Numeric:
    r"""Mean time of a request in a closed loop whose prompts are read one after another.

    Fitted factors for overlap hold where they were measured. Whatever they say, while one request
    runs, each of the others that finish is replaced by one whose prompt must be read as well.

    Parameters
    ----------
    request_time : numeric
        Mean time from the start of a request to its last token, as estimated. [s]
    prompt_time : numeric
        Time for which one prompt occupies the device. [s]
    running : numeric
        Sequences that run together. [1]

    Returns
    -------
    time : numeric
        The same, or the time to read as many prompts as requests are running if that is longer.
        [s]

    Raises
    ------
    ValueError
        If a time is negative or `running` is below 1.

    Notes
    -----
    The utilisation law bounds throughput by one over the service demand, :math:`X \le 1/t_p`;
    with Little's law :math:`X = N/R`

    .. math:: R \ge N\,t_p

    References
    ----------
    .. [1] E. D. Lazowska et al., "Quantitative System Performance", ch. 5 (asymptotic bounds),
       1984.

    Examples
    --------
    >>> float(prompt_bound_time(2.0, 0.05, 64.0)), float(prompt_bound_time(5.0, 0.05, 64.0))
    (3.2, 5.0)
    """
    checks.not_negative(request_time=request_time, prompt_time=prompt_time)
    checks.at_least(1, running=running)
    time: Numeric = np.maximum(request_time, running * prompt_time)
    return time


def closed_loop_throughput(running: Numeric, request_time: Numeric) -> Numeric:
    r"""Requests finished per second when a fixed number is always in flight (Little's law).

    Parameters
    ----------
    running : numeric
        Requests in flight. [1]
    request_time : numeric
        Mean time from the start of a request to its last token. [s]

    Returns
    -------
    throughput : numeric
        Requests finished. [1/s]

    Raises
    ------
    ValueError
        If `running` is negative or `request_time` is not positive.

    Notes
    -----
    .. math:: X = N / R

    References
    ----------
    .. [1] J. D. C. Little, "A Proof for the Queuing Formula L = λW", Operations Research 9,
       1961.

    Examples
    --------
    >>> closed_loop_throughput(32.0, 4.0)
    8.0
    """
    checks.not_negative(running=running)
    checks.positive(request_time=request_time)
    return running / request_time


def prompt_passes(prompt_tokens: Numeric, chunk_tokens: Numeric) -> Numeric:
    r"""Passes through the layers in which a prompt is read.

    Parameters
    ----------
    prompt_tokens : numeric
        Tokens that are read. [1]
    chunk_tokens : numeric
        Most prompt tokens of one pass, infinite where a prompt is read at once. [1]

    Returns
    -------
    passes : numeric
        Whole passes, at least 1. [1]

    Raises
    ------
    ValueError
        If `prompt_tokens` is negative or `chunk_tokens` is below 1.

    Notes
    -----
    .. math:: k = \max\left(\lceil P / C \rceil,\ 1\right)

    Every pass reads all weights and the keys and values of the passes before it, so chunks add
    work. What they bring is a shorter pause between the tokens of other requests.

    References
    ----------
    .. [1] A. Agrawal et al., "Taming Throughput-Latency Tradeoff in LLM Inference with
       Sarathi-Serve", OSDI 2024.

    Examples
    --------
    >>> float(prompt_passes(4000.0, 512.0)), float(prompt_passes(4000.0, np.inf))
    (8.0, 1.0)
    """
    checks.not_negative(prompt_tokens=prompt_tokens)
    checks.at_least(1, chunk_tokens=chunk_tokens)
    passes: Numeric = np.maximum(np.ceil(prompt_tokens / chunk_tokens), 1.0)
    return passes


_Z = np.linspace(-8.0, 10.0, 91)
_DENSITY = np.exp(-0.5 * _Z**2) / np.sqrt(2.0 * np.pi) * (_Z[1] - _Z[0])
_BELOW = ndtr(_Z)


def longest_of(mean: Numeric, cv: Numeric, count: Numeric) -> Numeric:
    r"""Expected longest of several log-normal lengths.

    Parameters
    ----------
    mean : numeric
        Mean length. [1]
    cv : numeric
        Standard deviation over mean, 0 where all are alike. [1]
    count : numeric
        Lengths of which the longest is meant. [1]

    Returns
    -------
    longest : numeric
        Expected longest length, `mean` for a single one. [1]

    Raises
    ------
    ValueError
        If `mean` or `cv` is negative or `count` is below 1.

    Notes
    -----
    With :math:`\sigma^2 = \ln(1 + c^2)`, and :math:`\varphi` and :math:`\Phi` density and
    distribution of the standard normal,

    .. math:: E[\max] = m \int n\,\Phi(z)^{n-1} \varphi(z)\, e^{\sigma z - \sigma^2/2}\, dz

    by the rectangle rule in steps of 0.2, which is exact to six digits for smooth integrands.

    References
    ----------
    .. [1] H. A. David, H. N. Nagaraja, "Order Statistics", 3rd ed., 2003, ch. 3.

    Examples
    --------
    >>> round(float(longest_of(100.0, 0.0, 32.0)), 3), round(float(longest_of(100.0, 1.0, 1.0)), 3)
    (100.0, 100.0)
    >>> round(float(longest_of(100.0, 1.0, 2.0)), 1)
    144.4
    """
    checks.not_negative(mean=mean, cv=cv)
    checks.at_least(1, count=count)
    variance = np.log1p(np.square(cv))
    spread = np.sqrt(variance)
    total: Numeric = np.zeros(())
    for z, density, below in zip(_Z, _DENSITY, _BELOW, strict=True):
        total = total + count * below ** (count - 1.0) * density * np.exp(
            spread * z - 0.5 * variance
        )
    return mean * total


def filling_wait(batch: Numeric, arrivals: Numeric) -> Numeric:
    r"""Mean time that a request waits until its batch is full.

    Parameters
    ----------
    batch : numeric
        Requests of a full batch. [1]
    arrivals : numeric
        Requests that arrive at the replica. [1/s]

    Returns
    -------
    wait : numeric
        Mean over the requests of a batch: the first waits for all others, the last for none. [s]

    Raises
    ------
    ValueError
        If `batch` is below 1 or `arrivals` is not positive.

    Notes
    -----
    .. math:: w = \frac{B - 1}{2\,\lambda}

    References
    ----------
    .. [1] M. F. Neuts, "A General Class of Bulk Queues with Poisson Input", Annals of Mathematical
       Statistics 38, 1967.

    Examples
    --------
    >>> filling_wait(9.0, 100.0)
    0.04
    """
    checks.at_least(1, batch=batch)
    checks.positive(arrivals=arrivals)
    return 0.5 * (batch - 1.0) / arrivals


def disaggregated_throughput(
    running: Numeric, prompt_time: Numeric, prompt_demand: Numeric, other_time: Numeric
) -> Numeric:
    r"""Requests per second where prompts are read on replicas of their own.

    A closed network of two stations: prompts queue for the prefill replicas, and all requests
    that decode do so at the same time.

    Parameters
    ----------
    running : numeric
        Requests in flight over both stations, for one decoding replica. [1]
    prompt_time : numeric
        Time from the start of a prompt to its first token. [s]
    prompt_demand : numeric
        Time for which one prompt occupies the prefill replicas of one decoding replica: half of
        the time on one where there are two. [s]
    other_time : numeric
        Hand-over and decoding of one request. [s]

    Returns
    -------
    throughput : numeric
        Requests finished. [1/s]

    Raises
    ------
    ValueError
        If `running` is below 1, `prompt_time` is not positive or another time is negative.

    Notes
    -----
    Mean value analysis in Schweitzer's approximation: a prompt that arrives finds
    :math:`a = (N-1)/N` of the mean number of prompts before it,

    .. math:: W = a\,D\,X\,(t_p + W), \qquad N = X\,(t_p + W + Z)

    which is quadratic in :math:`X`. Its smaller root goes from :math:`N/(t_p + Z)` for few requests
    to :math:`1/D` for many, which it does not exceed (utilisation law).

    References
    ----------
    .. [1] P. Schweitzer, "Approximate Analysis of Multiclass Closed Networks of Queues", 1979.
    .. [2] Y. Zhong et al., "DistServe: Disaggregating Prefill and Decoding for Goodput-optimized
       Large Language Model Serving", OSDI 2024.

    Examples
    --------
    >>> round(float(disaggregated_throughput(1.0, 0.1, 0.1, 0.9)), 9)
    1.0
    >>> round(float(disaggregated_throughput(1e6, 0.1, 0.1, 0.9)), 3)
    10.0
    """
    checks.at_least(1, running=running)
    checks.positive(prompt_time=prompt_time)
    checks.not_negative(prompt_demand=prompt_demand, other_time=other_time)
    queue = (running - 1.0) / running * prompt_demand
    both = prompt_time + other_time + queue * running
    root = np.sqrt(np.maximum(both**2 - 4.0 * queue * other_time * running, 0.0))
    with np.errstate(divide="ignore"):
        most = 1.0 / np.asarray(prompt_demand, dtype=float)
    throughput: Numeric = np.minimum(2.0 * running / (both + root), most)
    return throughput


def log_normal_quantile(mean: Numeric, log_sd: Numeric, z: Numeric) -> Numeric:
    r"""Quantile of a log-normal time, given its mean.

    Parameters
    ----------
    mean : numeric
        Mean time. [s]
    log_sd : numeric
        Standard deviation of the logarithm of the time. [1]
    z : numeric
        Quantile of the standard normal distribution: 1.6449 for the 95th percentile. [1]

    Returns
    -------
    quantile : numeric
        Time that the given share of requests stays below. [s]

    Raises
    ------
    ValueError
        If `mean` or `log_sd` is negative.

    Notes
    -----
    .. math:: q = m\, e^{z\sigma - \sigma^2/2}

    References
    ----------
    .. [1] N. L. Johnson, S. Kotz, N. Balakrishnan, "Continuous Univariate Distributions", vol. 1,
       ch. 14, 1994.

    Examples
    --------
    >>> float(log_normal_quantile(1.0, 0.0, 1.6449))
    1.0
    >>> round(float(log_normal_quantile(1.0, 0.5, 1.6449)), 3)
    2.009
    """
    checks.not_negative(mean=mean, log_sd=log_sd)
    quantile: Numeric = mean * np.exp(log_sd * (z - 0.5 * log_sd))
    return quantile

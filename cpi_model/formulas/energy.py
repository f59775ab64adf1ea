"""Power, energy and carbon of an inference.

A power that no source gives is NaN and stays unknown in the results.
"""

from __future__ import annotations

import numpy as np

from cpi_model import checks
from cpi_model.units import Numeric


def device_power(
    utilisation: Numeric, idle_power: Numeric, peak_power: Numeric, exponent: Numeric
) -> Numeric:
    r"""Mean power of a device at a utilisation.

    Parameters
    ----------
    utilisation : numeric
        Part of the time (or of the capacity) in use. [1]
    idle_power : numeric
        Power without work, NaN where unknown. [W]
    peak_power : numeric
        Power when fully used, NaN where unknown. [W]
    exponent : numeric
        1 for a straight line between the two; 1.4 fitted the servers of the reference, which
        draw most of the difference early. [1]

    Returns
    -------
    power : numeric
        Mean power. [W]

    Raises
    ------
    ValueError
        If `utilisation` is not from 0 to 1, `exponent` is below 1 or a power is negative.

    Notes
    -----
    .. math:: P = P_i + (P_p - P_i)\,(2u - u^r)

    Up to :math:`r = 2` power never falls with utilisation.

    References
    ----------
    .. [1] X. Fan, W.-D. Weber, L. A. Barroso, "Power Provisioning for a Warehouse-sized
       Computer", sec. 2.3, ISCA 2007.

    Examples
    --------
    >>> device_power(0.5, 100.0, 700.0, 1.0)
    400.0
    >>> round(device_power(0.5, 100.0, 700.0, 1.4), 1)
    472.6
    """
    checks.share(utilisation=utilisation)
    checks.at_least(1, exponent=exponent)
    checks.not_negative_if_known(idle_power=idle_power, peak_power=peak_power)
    return idle_power + (peak_power - idle_power) * (2 * utilisation - utilisation**exponent)


def energy_per_inference(power: Numeric, pue: Numeric, throughput: Numeric) -> Numeric:
    r"""Energy that the data centre draws for one inference.

    Parameters
    ----------
    power : numeric
        Mean power of all devices that serve, NaN where unknown. [W]
    pue : numeric
        Power usage effectiveness: power of the data centre over power of its computers. [1]
    throughput : numeric
        Successful inferences, NaN where unknown. [1/s]

    Returns
    -------
    energy : numeric
        Energy per inference; infinite where nothing is served. [J]

    Raises
    ------
    ValueError
        If `power` or `throughput` is negative or `pue` is below 1.

    Notes
    -----
    .. math:: E = P \cdot \mathrm{PUE} / X

    References
    ----------
    .. [1] ISO/IEC 30134-2, "Data centres key performance indicators, part 2: Power usage
       effectiveness (PUE)", 2016.

    Examples
    --------
    >>> float(energy_per_inference(700.0, 1.2, 10.0))
    84.0
    """
    checks.not_negative_if_known(power=power, throughput=throughput)
    checks.at_least(1, pue=pue)
    with np.errstate(divide="ignore", invalid="ignore"):
        energy: Numeric = np.divide(power * pue, throughput)
    return energy


def carbon_per_inference(energy: Numeric, intensity: Numeric) -> Numeric:
    r"""Carbon dioxide (equivalent) of the electricity of one inference.

    Parameters
    ----------
    energy : numeric
        Energy of the inference, NaN where unknown. [J]
    intensity : numeric
        Carbon of the grid, NaN where unknown. [g/J]

    Returns
    -------
    carbon : numeric
        Carbon of operation; making the hardware is not in it. [g]

    Raises
    ------
    ValueError
        If an argument is negative.

    Notes
    -----
    .. math:: m = E\,I

    References
    ----------
    .. [1] ISO/IEC 21031, "Software Carbon Intensity (SCI) specification", 2024.

    Examples
    --------
    A kilowatt hour from a grid with 400 g/kWh:

    >>> carbon_per_inference(3.6e6, 400 / 3.6e6)
    400.0
    """
    checks.not_negative_if_known(energy=energy, intensity=intensity)
    return energy * intensity

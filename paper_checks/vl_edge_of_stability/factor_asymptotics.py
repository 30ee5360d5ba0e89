"""Small noise leaves a gap 8 / (rho^3 z) below 2 / rho; a small gradient leaves an edge (2 z / rho)^(1/3).

Both laws are the first terms of power series in the dimensionless signal zeta = rho^2 z / 4. With t = 1 / zeta the
fraction s of gradient descent's edge solves s = 1 - t s^3, the equation of the Fuss-Catalan numbers; with
q = zeta^(1/3) it solves s = q (1 - s)^(1/3), where Lagrange's inversion gives binomials of thirds. The inverse
zeta = s^3 / (1 - s) has its critical point at s = 3/2, zeta = -27/4, so that both series converge up to |zeta| = 27/4,
one outside of that circle and one inside.
"""

from fractions import Fraction
from math import comb, prod

import numpy as np
import sympy
from scipy.optimize import brentq

from quadlab import derive
from quadlab.dynamics import parameter, variational_gradient_descent
from quadlab.report import Figure, Panel, computed, run, theory
from quadlab.theory import variational
from quadlab.theory.elementary import cbrt
from quadlab.theory.intervals import positive, whole_positive
from quadlab.verify import ASYMPTOTIC, IDENTITY, Claim, Derivation, Domain, Theorem, Window

RATE, SIGNAL, NOISE, SAMPLES = map(parameter, ("learning_rate", "signal_to_noise", "noise_variance", "samples"))
EDGE, SMALL = sympy.symbols("edge small", positive=True)
LINEAR, CONSTANT = (
    coefficient.subs(derive.gradient_symbol, sympy.sqrt(SIGNAL * NOISE / SAMPLES))
    for coefficient in derive.depressed_cubic(derive.descent_polynomial(variational_gradient_descent()))
)
CUBIC = EDGE**3 + LINEAR * EDGE + CONSTANT

"""Where the bridge's arrays live in tests of devices."""

import pytest
from helpers import card_backend, strict_backend


@pytest.fixture(params=["strict", pytest.param("cupy", marks=pytest.mark.gpu)])
def device_backend(request):
    """A backend away from the host: array-api-strict on a device that is not the default, or CuPy."""
    return strict_backend() if request.param == "strict" else card_backend()

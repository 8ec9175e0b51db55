"""The method of this package. Today it is the gated sum, under the name that recipes and people use."""

from dataclasses import replace

from tada_studio.core.methods import gates

METHOD = replace(gates.METHOD, name="tada")

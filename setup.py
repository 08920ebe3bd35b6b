"""The one thing that pyproject.toml cannot say in a form that stays: the optional C extension.

Without a compiler the installation goes on, and search takes its slower way.
"""

from setuptools import Extension, setup

FOLDER = "retriever/index/native"
setup(
    ext_modules=[
        Extension(
            "rag_vqa.retriever.index._native",
            [f"{FOLDER}/{name}.c" for name in ("module", "portable", "avx2", "avx512")],
            depends=[f"{FOLDER}/kernels.h"],
            # No multiplication joined to an addition: all processors give the same bits.
            extra_compile_args=["-O3", "-ffp-contract=off"],
            optional=True,
        )
    ]
)

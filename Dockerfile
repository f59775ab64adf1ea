# The app for a team: see docs/deploy.md. Nothing in the image is written when it runs, so it may be
# started with --read-only, a scratch folder in memory and one volume for the library.

FROM python:3.11-slim AS build
WORKDIR /build
COPY pyproject.toml constraints.txt README.md LICENSE ./
RUN python -m venv /venv \
    && python -m pip install --no-cache-dir --constraint constraints.txt hatchling
COPY cpi_model cpi_model
COPY data data
RUN python -m pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir dist . \
    && /venv/bin/python -m pip install --no-cache-dir --constraint constraints.txt \
        "$(ls dist/*.whl)[team]"

FROM python:3.11-slim
COPY --from=build /venv /venv
WORKDIR /app
COPY app.py ./
COPY pages pages
COPY .streamlit/config.toml .streamlit/config.toml
RUN useradd --system --uid 10001 --no-create-home cpi \
    && install --directory --owner cpi --mode 700 /library /scratch
# What libraries write on the way goes to /scratch, above all the simulation that numba compiles.
ENV PATH=/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/scratch \
    TMPDIR=/scratch \
    NUMBA_CACHE_DIR=/scratch/numba \
    CPI_DATABASE_URL=sqlite:////library/library.db
USER cpi
VOLUME /library
EXPOSE 8501
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8501/_stcore/health', timeout=4)"]
CMD ["streamlit", "run", "app.py", "--server.address=0.0.0.0", "--server.port=8501", \
    "--server.fileWatcherType=none"]

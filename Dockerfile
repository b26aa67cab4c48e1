# A node of the archive (docs/operate/running.md). Nothing of it is written inside: settings and state are mounted at
# /etc/pacs, and so are the volumes.
FROM python:3.11-slim-bookworm
COPY pyproject.toml README.md LICENSE /src/
COPY pacs_server /src/pacs_server
COPY migrations /src/migrations
COPY config/pacs.example.yaml /src/config/
RUN python3 -m venv /opt/pacs && /opt/pacs/bin/pip install --no-cache-dir '/src[s3]' && rm -rf /src
RUN useradd --uid 2104 --create-home pacs
USER pacs
ENV PATH=/opt/pacs/bin:$PATH
# The port is http.port of pacs.yaml. Docker may give a container the proxy of the site, which is not asked for this.
HEALTHCHECK --interval=30s --timeout=20s --start-period=60s \
    CMD ["python", "-c", "from urllib.request import ProxyHandler, build_opener; build_opener(ProxyHandler({})).open('http://127.0.0.1:11180/ready', timeout=10)"]
ENTRYPOINT ["/opt/pacs/bin/pacs"]
CMD ["-c", "/etc/pacs/pacs.yaml", "serve"]

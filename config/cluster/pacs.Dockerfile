# A node of the archive. Nothing of it is written inside: settings and state are mounted, so are the volumes.
FROM python:3.11-slim-bookworm
COPY . /src
RUN python3 -m venv /opt/pacs && /opt/pacs/bin/pip install --no-cache-dir '/src[s3]' && rm -rf /src
RUN useradd --uid 2104 --create-home pacs
USER pacs
ENTRYPOINT ["/opt/pacs/bin/pacs"]
CMD ["-c", "/etc/pacs/pacs.yaml", "serve"]

# A member: PostgreSQL 15 with Patroni. Its configuration is mounted, its data lies in a volume.
FROM postgres:15-bookworm
RUN apt-get update \
 && apt-get install -y --no-install-recommends python3-venv \
 && rm -rf /var/lib/apt/lists/* \
 && python3 -m venv /opt/patroni \
 && /opt/patroni/bin/pip install --no-cache-dir 'patroni[etcd3]>=4.1,<5' psycopg2-binary
USER postgres
ENTRYPOINT ["/opt/patroni/bin/patroni", "/etc/patroni/config.yml"]

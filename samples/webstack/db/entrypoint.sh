#!/bin/sh
# Make the database cluster on the first start, then become the server.
set -eu

if [ "$1" = postgres ] && [ ! -s "$PGDATA/PG_VERSION" ]; then
    passwords=$(mktemp)
    printf '%s\n' "$POSTGRES_PASSWORD" > "$passwords"
    initdb --username="$POSTGRES_USER" --pwfile="$passwords" --auth-local=trust --auth-host=scram-sha-256 \
        --encoding=UTF8 --locale=C.UTF-8 --no-sync >/dev/null
    rm -f "$passwords"
    printf 'host all all all scram-sha-256\n' >> "$PGDATA/pg_hba.conf"
    # a server on the socket alone, for as long as it takes to make the database
    pg_ctl --wait --silent --options="-c listen_addresses=''" start
    if [ "$POSTGRES_DB" != postgres ]; then
        createdb --username="$POSTGRES_USER" "$POSTGRES_DB"
    fi
    pg_ctl --wait --silent --mode=fast stop
    echo "database \"$POSTGRES_DB\" made"
fi

exec "$@" -c listen_addresses='*'

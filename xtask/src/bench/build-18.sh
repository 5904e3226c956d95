# Builds pg_dump, pg_restore and psql 18 into the folder $1 from Debian's source package, and removes what it needed.
# The package lists are private: nothing of the machine's own configuration changes.
into=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/lists/partial "$work"/cache/archives/partial
echo 'deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian sid main' \
    > "$work/sources.list"
apt() {
    apt-get -q -o Dir::Etc::sourcelist="$work/sources.list" -o Dir::Etc::sourceparts=/dev/null \
        -o Dir::State::lists="$work/lists" -o Dir::Cache="$work/cache" "$@"
}
for need in gcc make bison flex; do
    command -v $need > /dev/null ||
        { echo "$need is missing; as root: apt-get install gcc make bison flex libzstd-dev" >&2; exit 1; }
done
cd "$work"
apt update
apt source --download-only postgresql-18
tar xf postgresql-18_*.orig.tar.*
cd postgresql-18*/
./configure --prefix="$into" --without-icu --without-readline --without-zlib --with-zstd CFLAGS=-O2
make -s -j2 -C src/interfaces/libpq install
make -s -j2 -C src/bin/pg_dump install
make -s -j2 -C src/bin/psql install

# Ends a local cloud. Runs beside it and waits until the starter closes our standard input, which happens however the
# starter ends; after the line `detach`, it waits for the file `stop` instead. Then it stops every part, also
# the Postgres clusters that somebody started below the data folder, and removes both folders.
run_dir=$1
data_dir=$2

if read -r word && [ "$word" = detach ]; then
    while [ -d "$run_dir" ] && [ ! -e "$run_dir/stop" ]; do sleep 0.2; done
fi

clusters() {
    find "$data_dir" -maxdepth 4 -name postmaster.pid -exec head -n 1 {} \; 2>/dev/null
}

for file in "$run_dir"/*.pgid; do
    [ -e "$file" ] && kill -s TERM -- "-$(cat "$file")" 2>/dev/null
done
# QUIT is Postgres's immediate shutdown: the data is thrown away.
for pid in $(clusters); do kill -QUIT "$pid" 2>/dev/null; done
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    left=
    for file in "$run_dir"/*.pgid; do
        [ -e "$file" ] && kill -s 0 -- "-$(cat "$file")" 2>/dev/null && left=yes
    done
    for pid in $(clusters); do
        kill -QUIT "$pid" 2>/dev/null && left=yes
    done
    [ -z "$left" ] && break
    sleep 0.1
done
for file in "$run_dir"/*.pgid; do
    [ -e "$file" ] && kill -s KILL -- "-$(cat "$file")" 2>/dev/null
done
for pid in $(clusters); do kill -KILL "$pid" 2>/dev/null; done
rm -rf "$data_dir" "$run_dir"

umask 022
mkdir -p tree; cd tree
name=$(printf 'l%.0s' $(seq 1 200))
mkdir -p "$name/$name/$name"; echo deep >"$name/$name/$name/file"
echo long >"$name/$(printf 'f%.0s' $(seq 1 250))"
ln -s "$(printf 't%.0s' $(seq 1 1000))" "$name/long-link"
path=.; for i in $(seq 1 60); do path=$path/d$i; done
mkdir -p $path; echo bottom >$path/bottom
seq 1 300000 >numbers

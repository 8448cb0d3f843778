umask 022
mkdir -p tree/sub
echo 1 >tree/one; echo 2 >tree/two; echo 3 >tree/sub/three

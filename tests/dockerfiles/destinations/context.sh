umask 022; mkdir -p a/b a/c/d a/e; echo 1 >a/b/1; echo 2 >a/c/d/2; echo 3 >a/3; chmod 700 a/c; chmod 775 a

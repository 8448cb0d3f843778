umask 022
echo 1 >f1; echo 2 >f2

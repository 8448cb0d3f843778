umask 022
mkdir -p three/sub four five/sub
echo 3 >three/3; echo 3 >three/sub/3; echo 4 >three/4; echo 3 >four/3; echo 4 >four/4; echo 5 >five/5; echo 3 >five/sub/3
printf '**/3\n!three\nfive\n!five/sub\n' >.dockerignore

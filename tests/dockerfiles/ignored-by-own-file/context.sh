umask 022
echo 1 >one; echo 2 >two; mkdir three; echo 3 >three/3; mkdir four; echo 3 >four/3
echo one >.dockerignore
printf 'two\n**/3\n!three/3\n' >Dockerfile.dockerignore

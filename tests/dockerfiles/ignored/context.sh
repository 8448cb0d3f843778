umask 022
mkdir -p src/a/node_modules/x src/b/c doc/deep/er docs .git/objects build/keep vendor/lib/x
for name in src/a/main.c src/a/main.o src/a/node_modules/x/y src/b/c/lib.o src/b/c/keep.o src/b/readme.md readme.md \
    doc/deep/er/page.md doc/deep/page.txt docs/x.tmp docs/y .git/objects/1 build/out build/keep/me build/keep/not \
    vendor/lib/x/1 vendor/lib/2 secret.key secret.key.pub '#hash' '!bang' '  spaces' .dotfile Dockerfile.old; do
    echo "$name" >"$name"
done
cat >.dockerignore <<'END'
# a comment
   
.git
**/*.o
!**/keep.o
**/node_modules/
*.md
!readme.md
doc/**/page.*
/build
!build/keep
build/keep/not
vendor/*
!vendor/lib/x
*.key
docs/?.tmp
\#hash
./.dotfile/
Dockerfile*
END

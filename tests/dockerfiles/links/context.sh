umask 022
mkdir -p tree/folder/deeper
echo file >tree/file; echo inner >tree/folder/inner; echo deeper >tree/folder/deeper/file
ln -s file tree/link; ln -s folder tree/folder-link; ln -s nowhere tree/broken; ln -s broken tree/broken2
ln tree/file tree/hard1; ln tree/file tree/folder/hard2
ln -s ../../file tree/folder/deeper/up

mkdir tmp/out
echo 'echo built' >tmp/out/build.sh
chmod +x tmp/out/build.sh
ln -s /etc/passwd tmp/out/passwd
mkfifo tmp/out/pipe
exec sleep 60

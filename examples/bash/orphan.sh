sleep 3600 &
setsid sleep 3600 &
echo done

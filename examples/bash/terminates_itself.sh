kill -TERM $$
sleep 60

# Other versions of RabbitMQ, MariaDB and MySQL than this machine has: from Debian's suites into folders under `versions`, and started
# from there. Sourced by script/try-versions behind script/services.sh; not run by itself.
#
# Set before: `versions`, the folder of the suites, and `run`, the one of this run.

declare -A packages=([rabbitmq]=rabbitmq-server [mariadb]='mariadb-server-core mariadb-client-core' [mysql]=mysql-server-core)
declare -A titles=([rabbitmq]=RabbitMQ [mariadb]=MariaDB [mysql]=MySQL)
# Another run takes others, most likely.
first_port=$((26000 + $$ % 100 * 40))
database_user=try:with-a-password
server_process='' step='' step_signal=TERM

# need_server SERVER SUITE: its packages in the folder of its suite, which is made once and used again.
need_server() {
  local wanted tree=$versions/$2 said=$run/install-$1-$2.log
  read -ra wanted <<<"${packages[$1]}"
  if [ ! -d "$tree" ]; then
    heading "installing Debian's $2 into $tree"
    rm -rf --one-file-system "$tree.part"
    install_step "$said" debootstrap --variant=minbase "$2" "$tree.part" ${MIRROR:+"$MIRROR"}
    # No package starts anything.
    printf '#!/bin/sh\nexit 101\n' >"$tree.part/usr/sbin/policy-rc.d"
    chmod +x "$tree.part/usr/sbin/policy-rc.d"
    printf '127.0.0.1 localhost\n' >"$tree.part/etc/hosts"
    mv "$tree.part" "$tree"
  fi
  if ! chroot "$tree" dpkg-query --show "${wanted[@]}" >/dev/null 2>&1; then
    heading "installing ${wanted[*]} of $2"
    # A mirror that is behind will do.
    install_step "$said" chroot "$tree" apt-get -o Acquire::Check-Valid-Until=false update
    install_step "$said" chroot "$tree" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
      "${wanted[@]}"
    chroot "$tree" apt-get clean
  fi
}

# What it mounts and starts is gone when it is.
install_step() {
  step_signal=KILL
  in_background "$1" unshare --mount --pid --fork --kill-child "${@:2}" || die "that failed: see $1"
  step_signal=TERM
}

# in_background SAID COMMAND...: waits for it, so that a signal to this script is not left until the command is over.
in_background() {
  local status=0
  setpriv --pdeathsig "$step_signal" "${@:2}" </dev/null >>"$1" 2>&1 &
  step=$!
  wait "$step" || status=$?
  step=
  return $status
}

# launch SUITE SAID COMMAND...: a program of that suite, as nobody, with $run/data at /mnt, in a space of processes of its own: they
# all end with the first one. That is a shell which stays root, because who becomes another user outlives whoever watches over it.
# Sets `server_process`.
launch() {
  # shellcheck disable=SC2016
  local inside='mount --bind "$1" "$0/mnt" && mount -t proc proc "$0/proc" && cd / || exit 1
    chroot --userspec=65534:65534 "$0" "${@:2}"
    exit $?'
  setpriv --pdeathsig KILL unshare --mount --pid --fork --kill-child \
    env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/mnt TMPDIR=/mnt LANG=C.UTF-8 \
    bash -c "$inside" "$versions/$1" "$run/data" "${@:3}" </dev/null >>"$2" 2>&1 &
  server_process=$!
}

# At once and unasked, as after a loss of power: these servers are thrown away, and one that is started again must stand it.
stop_server() {
  [ -n "$server_process" ] || return 0
  kill -KILL "$server_process" 2>/dev/null || true
  wait "$server_process" 2>/dev/null || true
  server_process=
}

new_data() {
  rm -rf --one-file-system "$run/data"
  mkdir "$run/data"
  chown 65534:65534 "$run/data"
}

# is_up URL: whether the server greets, or has ended; what it said tells which.
is_up() {
  greeting "$1" >/dev/null 2>&1 || ! kill -0 "$server_process"
}

# greeting URL: the version with which a server introduces itself before anybody logs in, and `TLS` if it offers that there.
greeting() {
  python3 - "$1" <<'PYTHON'
import re, socket, sys
from urllib.parse import urlsplit

url = urlsplit(sys.argv[1].split(",")[0])
is_broker = url.scheme.startswith("amqp")
with socket.create_connection((url.hostname, url.port or (5672 if is_broker else 3306)), timeout=5) as server:
    if is_broker:
        server.sendall(b"AMQP\0\0\x09\x01")
    said = b""
    # A broker's first frame has a length at its byte 3, a database's first packet at byte 0.
    while len(said) < 7 or len(said) < (int.from_bytes(said[3:7], "big") + 8 if is_broker else int.from_bytes(said[:3], "little") + 4):
        more = server.recv(65536)
        if not more:
            sys.exit("it closed the connection")
        said += more
if is_broker:
    print(re.search(rb"\x07versionS....([\w.+-]+)", said, re.DOTALL).group(1).decode())
elif said[4] != 10:
    sys.exit("it refuses")
else:
    version, rest = said[5:].split(b"\0", 1)
    # Behind the connection's number, eight bytes of salt and a zero.
    offers_tls = int.from_bytes(rest[13:15], "little") & 0x800
    print(re.sub("^5.5.5-", "", version.decode()), *(["TLS"] if offers_tls else []))
PYTHON
}

# start_database SERVER SUITE OPTION...: on the data that is there.
start_database() {
  local program=/usr/sbin/mysqld
  [ "$1" = mysql ] || program=/usr/sbin/mariadbd
  launch "$2" "$run/$1-$2.server.log" "$program" --no-defaults --datadir=/mnt/data --bind-address=127.0.0.1 --port="$port" \
    --socket=/mnt/socket --pid-file=/mnt/pid --secure-file-priv=/mnt --max-connections=500 --skip-name-resolve "${@:3}"
  wait_for 120 "${titles[$1]} of $2 ($run/$1-$2.server.log)" is_up "$database"
  greeting "$database" >/dev/null 2>&1 || die "${titles[$1]} of $2 ended by itself: see $run/$1-$2.server.log"
}

# new_database SERVER SUITE: its first data, with an account that has a password. Sets `port` and `database`.
new_database() {
  port=$(free_port "$first_port")
  database=mysql://$database_user@127.0.0.1:$port
  new_data
  {
    echo "CREATE USER '${database_user%:*}'@'%' IDENTIFIED BY '${database_user#*:}';"
    echo "GRANT ALL ON *.* TO '${database_user%:*}'@'%';"
    echo "CREATE DATABASE shop CHARACTER SET utf8mb4;"
  } >"$run/data/first.sql"
  if [ "$1" = mysql ]; then
    launch "$2" "$run/$1-$2.server.log" /usr/sbin/mysqld --no-defaults --initialize-insecure --datadir=/mnt/data
  else
    launch "$2" "$run/$1-$2.server.log" mariadb-install-db --no-defaults --datadir=/mnt/data --auth-root-authentication-method=normal --skip-test-db
  fi
  wait "$server_process" || die "${titles[$1]} of $2 could not make its first data: see $run/$1-$2.server.log"
  server_process=
  start_database "$1" "$2" --init-file=/mnt/first.sql
  stop_server
}

# start_broker SERVER SUITE: sets `broker`.
start_broker() {
  local port port_mapper distribution
  port=$(free_port "$first_port")
  port_mapper=$(free_port $((port + 1)))
  distribution=$(free_port $((port_mapper + 1)))
  broker=amqp://guest:guest@127.0.0.1:$port/%2f
  new_data
  echo 'disk_free_limit.absolute = 10MB' >"$run/data/rabbitmq.conf"
  echo '[].' >"$run/data/plugins"
  launch "$2" "$run/$1-$2.server.log" env RABBITMQ_NODENAME="try-versions-$port@localhost" RABBITMQ_NODE_IP_ADDRESS=127.0.0.1 \
    RABBITMQ_NODE_PORT="$port" RABBITMQ_DIST_PORT="$distribution" ERL_EPMD_PORT="$port_mapper" ERL_EPMD_ADDRESS=127.0.0.1 \
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS='-kernel inet_dist_use_interface {127,0,0,1}' RABBITMQ_CONF_ENV_FILE=/dev/null \
    RABBITMQ_CONFIG_FILE=/mnt/rabbitmq RABBITMQ_ENABLED_PLUGINS_FILE=/mnt/plugins RABBITMQ_MNESIA_BASE=/mnt/data \
    RABBITMQ_LOG_BASE=/mnt/logs RABBITMQ_PID_FILE=/mnt/pid RUNNING_UNDER_SYSTEMD=true /usr/lib/rabbitmq/bin/rabbitmq-server
  wait_for 180 "${titles[$1]} of $2 ($run/$1-$2.server.log)" is_up "$broker"
  greeting "$broker" >/dev/null 2>&1 || die "${titles[$1]} of $2 ended by itself: see $run/$1-$2.server.log"
}

# with_private SERVER SUITE: sets `with_private`, in front of a command that starts servers of its own: it finds that version's.
with_private() {
  local program programs_of=$run/programs-$1-$2
  mkdir -p "$programs_of"
  for program in rabbitmq-server rabbitmqctl rabbitmq-queues rabbitmq-diagnostics epmd mariadbd mariadb-install-db; do
    printf '#!/bin/sh\nexec chroot "%s" env PATH=%s %s "$@"\n' "$versions/$2" \
      /usr/lib/rabbitmq/bin:/usr/sbin:/usr/bin:/sbin:/bin "$program" >"$programs_of/$program"
    chmod +x "$programs_of/$program"
  done
  # shellcheck disable=SC2016
  with_private=(unshare --mount env TMPDIR=/tmp PATH="$programs_of:$PATH" bash -c '
    # Where it is looked for first.
    [ ! -d /usr/lib/rabbitmq/bin ] || mount --bind "$1" /usr/lib/rabbitmq/bin || exit 2
    mount --bind /tmp "$0/tmp" && mount -t proc proc "$0/proc" || exit 2
    exec "${@:2}"' "$versions/$2" "$programs_of")
}

# database_name URL: kind and version, as it says them.
database_name() {
  local said
  said=$(greeting "$1")
  if [[ $said == *MariaDB* ]]; then echo "MariaDB ${said%%-*}"; else echo "MySQL ${said%%[- ]*}"; fi
}

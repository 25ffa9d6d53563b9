# Finding or starting the servers that tests talk to. Sourced by script/test; not run by itself.
#
# Servers started here live under target/test-services and end with the script.

started_processes=()
started_containers=()

heading() {
  printf '\n==> %s\n' "$*"
}

note() {
  printf '    %s\n' "$*"
}

die() {
  printf '%s: %s\n' "$0" "$*" >&2
  exit 1
}

# What the environment sets for a server of the user's is not for what is tested.
unset_settings() {
  unset "${!DOORBUSTER__@}"
}

stop_services() {
  local process container
  for process in "${started_processes[@]}"; do
    kill "$process" 2>/dev/null || true
    wait "$process" 2>/dev/null || true
  done
  for container in "${started_containers[@]}"; do
    docker rm --force "$container" >/dev/null 2>&1 || true
  done
}
trap stop_services EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# install_package NAME...: from the distribution, where that is possible without asking anybody.
install_package() {
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 1
  note "installing $* from the distribution's packages"
  {
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@" ||
      { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"; }
  } >"$target_dir/apt.log" 2>&1
}

port_is_open() {
  (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# says_yes PORT PATH: whether a GET is answered 200.
says_yes() (
  exec 3<>"/dev/tcp/127.0.0.1/$1" && printf 'GET %s HTTP/1.0\r\n\r\n' "$2" >&3 && head -1 <&3 | grep -q ' 200 '
)

free_port() {
  local port
  for port in $(seq "$1" $(($1 + 200))); do
    port_is_open "$port" || { echo "$port"; return; }
  done
  die "no free port from $1 on"
}

# wait_for SECONDS WHAT COMMAND...: until the command succeeds.
wait_for() {
  local bound=$1 what=$2 began=$SECONDS
  shift 2
  until "$@" >/dev/null 2>&1; do
    [ $((SECONDS - began)) -lt "$bound" ] || die "$what did not start within $bound s"
    sleep 0.2 # the state that is waited for can only be asked for
  done
}

# Sets DOORBUSTER_TEST_MYSQL_URL: a server where databases may be made and dropped.
need_mysql() {
  if [ -n "${DOORBUSTER_TEST_MYSQL_URL:-}" ]; then
    note "database: DOORBUSTER_TEST_MYSQL_URL is set"
  elif [[ "${DATABASE_URL:-}" == mysql://* ]]; then
    note "database: the server of DATABASE_URL"
    DOORBUSTER_TEST_MYSQL_URL=$DATABASE_URL
  elif port_is_open 3306 && mysql_answers 3306; then
    note "database: the server on 127.0.0.1:3306"
    DOORBUSTER_TEST_MYSQL_URL=mysql://root@127.0.0.1:3306
  elif mysql_server >/dev/null || install_package mariadb-server; then
    start_mysql
  elif command -v docker >/dev/null && docker info >/dev/null 2>&1; then
    start_mysql_container
  else
    die "no database: install mariadb-server, or start docker, or set DATABASE_URL=mysql://user:password@host:port"
  fi
  export DOORBUSTER_TEST_MYSQL_URL
}

mysql_server() {
  PATH=$PATH:/usr/sbin:/usr/local/sbin command -v mariadbd || PATH=$PATH:/usr/sbin:/usr/local/sbin command -v mysqld
}

mysql_answers() {
  local client
  client=$(command -v mariadb || command -v mysql) || return 1
  "$client" --no-defaults --protocol=tcp --host=127.0.0.1 --port="$1" --user=root --connect-timeout=3 --execute="select 1" \
    >/dev/null 2>&1
}

# Sets `database_client`, with its options, and `server`: the address of DOORBUSTER_TEST_MYSQL_URL without a database.
find_database_client() {
  local url=${DOORBUSTER_TEST_MYSQL_URL%/}
  [[ $url =~ ^mysql://([^:@/]+)(:([^@/]*))?@([^:/]+)(:([0-9]+))?(/.*)?$ ]] || die "cannot read the address of the database: $url"
  database_client=$(command -v mariadb || command -v mysql) || die "a client is missing: install mariadb-client"
  database_client="$database_client --no-defaults --protocol=tcp -h ${BASH_REMATCH[4]} -P ${BASH_REMATCH[6]:-3306} -u ${BASH_REMATCH[1]}"
  [ -z "${BASH_REMATCH[3]}" ] || export MYSQL_PWD=${BASH_REMATCH[3]}
  server=mysql://${BASH_REMATCH[1]}${BASH_REMATCH[2]}@${BASH_REMATCH[4]}:${BASH_REMATCH[6]:-3306}
}

start_mysql() {
  local server folder port
  server=$(mysql_server)
  folder=$(realpath "$target_dir")/test-services/mysql
  port=$(free_port 13306)
  rm -rf "$folder"
  mkdir -p "$folder"
  note "database: starting $server on 127.0.0.1:$port, for this run only"
  if [ "$(basename "$server")" = mariadbd ]; then
    mariadb-install-db --no-defaults --user="$(id -un)" --datadir="$folder/data" --auth-root-authentication-method=normal \
      --skip-test-db >"$folder/install.log" 2>&1 || die "mariadb-install-db failed: see $folder/install.log"
  else
    "$server" --no-defaults --user="$(id -un)" --datadir="$folder/data" --initialize-insecure >"$folder/install.log" 2>&1 ||
      die "mysqld --initialize-insecure failed: see $folder/install.log"
  fi
  "$server" --no-defaults --user="$(id -un)" --datadir="$folder/data" --bind-address=127.0.0.1 --port="$port" \
    --socket="$folder/socket" --pid-file="$folder/pid" --max-connections=500 >"$folder/server.log" 2>&1 &
  started_processes+=($!)
  wait_for 60 "the database ($folder/server.log)" mysql_answers "$port"
  DOORBUSTER_TEST_MYSQL_URL=mysql://root@127.0.0.1:$port
}

start_mysql_container() {
  local port container
  port=$(free_port 13306)
  note "database: starting mariadb in docker on 127.0.0.1:$port, for this run only"
  container=$(docker run --detach --publish "127.0.0.1:$port:3306" --env MARIADB_ALLOW_EMPTY_ROOT_PASSWORD=1 mariadb:11) ||
    die "docker could not run mariadb:11"
  started_containers+=("$container")
  wait_for 120 "the database container" docker exec "$container" mariadb --user=root --host=127.0.0.1 --execute="select 1"
  DOORBUSTER_TEST_MYSQL_URL=mysql://root@127.0.0.1:$port
}

# Sets DOORBUSTER_TEST_AMQP_URL: a broker where queues may be made and deleted. Tests that hurt a broker start one of their
# own, so that the server's program must be there too.
need_amqp() {
  rabbitmq_server >/dev/null || install_package rabbitmq-server || note "broker: no rabbitmq-server here; trying others"
  if [ -n "${DOORBUSTER_TEST_AMQP_URL:-}" ]; then
    note "broker: DOORBUSTER_TEST_AMQP_URL is set"
  elif [[ "${AMQP_URL:-}" == amqp://* ]]; then
    note "broker: the server of AMQP_URL"
    DOORBUSTER_TEST_AMQP_URL=$AMQP_URL
  elif port_is_open 5672 && amqp_answers 5672; then
    note "broker: the server on 127.0.0.1:5672"
    DOORBUSTER_TEST_AMQP_URL=amqp://guest:guest@127.0.0.1:5672/%2f
  elif rabbitmq_server >/dev/null; then
    start_rabbitmq
  elif command -v docker >/dev/null && docker info >/dev/null 2>&1; then
    start_rabbitmq_container
  else
    die "no broker: install rabbitmq-server, or start docker, or set AMQP_URL=amqp://user:password@host:port/vhost"
  fi
  export DOORBUSTER_TEST_AMQP_URL
}

# The program itself, not the wrapper that insists on being root or the rabbitmq user.
rabbitmq_server() {
  local program
  for program in /usr/lib/rabbitmq/bin/rabbitmq-server "$(PATH=$PATH:/usr/sbin:/usr/local/sbin command -v rabbitmq-server)"; do
    [ -x "$program" ] && { echo "$program"; return; }
  done
  return 1
}

# A broker answers the protocol header with the frame of connection.start, which begins with a 1.
amqp_answers() (
  exec 3<>"/dev/tcp/127.0.0.1/$1" && printf 'AMQP\x00\x00\x09\x01' >&3 && [ "$(timeout 5 head -c 1 <&3)" = $'\x01' ]
)

start_rabbitmq() {
  local folder port
  folder=$(realpath "$target_dir")/test-services/rabbitmq
  port=$(free_port 15672)
  rm -rf "$folder"
  mkdir -p "$folder"
  note "broker: starting rabbitmq-server on 127.0.0.1:$port, for this run only"
  printf 'listeners.tcp.1 = 127.0.0.1:%s\n' "$port" >"$folder/rabbitmq.conf"
  : >"$folder/enabled_plugins"
  HOME=$folder RABBITMQ_NODENAME=doorbuster-test@localhost RABBITMQ_NODE_PORT=$port RABBITMQ_DIST_PORT=$((port + 20000)) \
    RABBITMQ_CONFIG_FILE=$folder/rabbitmq.conf RABBITMQ_ENABLED_PLUGINS_FILE=$folder/enabled_plugins \
    RABBITMQ_MNESIA_BASE=$folder/data RABBITMQ_LOG_BASE=$folder/logs \
    "$(rabbitmq_server)" >"$folder/server.log" 2>&1 &
  started_processes+=($!)
  wait_for 90 "the broker ($folder/server.log)" amqp_answers "$port"
  DOORBUSTER_TEST_AMQP_URL=amqp://guest:guest@127.0.0.1:$port/%2f
}

start_rabbitmq_container() {
  local port container
  port=$(free_port 15672)
  note "broker: starting rabbitmq in docker on 127.0.0.1:$port, for this run only"
  container=$(docker run --detach --publish "127.0.0.1:$port:5672" rabbitmq:4.1) || die "docker could not run rabbitmq:4.1"
  started_containers+=("$container")
  wait_for 120 "the broker container" amqp_answers "$port"
  DOORBUSTER_TEST_AMQP_URL=amqp://guest:guest@127.0.0.1:$port/%2f
}

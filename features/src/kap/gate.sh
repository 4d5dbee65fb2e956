#!/bin/sh
# The gate of a kap capsule: proves from inside the container that there is no way out but the sidecar.
#
# Usage: gate.sh [--wait SECONDS] [--lines]
#   --wait   how long the sidecar may take to answer (default 10)
#   --lines  one line a check on standard output, "STATE<tab>CODE<tab>TEXT" (ok, failed, unknown); nothing else
# Ends with 0 when every check is ok, 1 when one failed, 69 when one could not be made: what is not proven does not pass.
#
# Rules: POSIX sh and /proc only, plus one program that can open a TCP connection, whichever the image has. A refused connection
# proves something only if the same program has just reached the sidecar. It runs inside the container, so it tells accidents from
# isolation, not a hostile image from a good one; `kap status` on the host checks that.
set -u
LC_ALL=C
export LC_ALL

wait_seconds=10
# What the Feature's options were at build.
# shellcheck source=/dev/null
[ ! -r /usr/local/share/kap/options ] || . /usr/local/share/kap/options
lines=
while [ $# -gt 0 ]; do
  case $1 in
    --wait) wait_seconds=${2:-10}; shift 2 ;;
    --lines) lines=1; shift ;;
    *) echo "kap: gate: unknown argument: $1" >&2; exit 2 ;;
  esac
done

# Where the overlay says the sidecar is; without an overlay, its name.
sidecar=${KAP_SIDECAR:-kap-sidecar:3128}
sidecar_host=${sidecar%:*}
sidecar_port=${sidecar##*:}
# Addresses that answer everywhere on the internet. None of them is ever sent more than the question whether it is there.
outside='1.1.1.1:443 8.8.8.8:53 9.9.9.9:443'
metadata='169.254.169.254:80'
# A host that exists nowhere: whatever the policy, kap itself answers for it, with its own header, and no log counts it as a denial.
probe=kap-probe.invalid
# The sidecar's own name, which its name server knows and no other does.
own_name=kap
tab=$(printf '\t')

failed=0
unknown=0
report() { # STATE CODE TEXT
  case $1 in failed) failed=1 ;; unknown) unknown=1 ;; esac
  if [ -n "$lines" ]; then
    printf '%s\t%s\t%s\n' "$1" "$2" "$3"
  elif [ "$1" != ok ]; then
    printf 'kap: %s: %s (%s)\n' "$(echo "$1" | tr 'a-z' 'A-Z')" "$3" "$2" >&2
  fi
}

have() { command -v "$1" >/dev/null 2>&1; }

# --- One program that opens TCP connections -------------------------------------------------------------------------
# Each `ask_*` HOST PORT SECONDS sends its standard input and prints "+" and the answer when it got a connection, "-" when it was told
# no (refused, no route), "?" when nobody said anything in time, and nothing when it could not try.
ask_perl() {
  perl -e '
    use Socket; my ($host, $port, $seconds) = @ARGV; my $up = 0; $| = 1;
    $SIG{ALRM} = sub { print "?" unless $up; exit 0 }; alarm $seconds;
    my $question = do { local $/; <STDIN> };
    my $address = inet_aton($host); unless (defined $address) { print "-"; exit 0 }
    socket(my $s, PF_INET, SOCK_STREAM, 6) or exit 2;
    unless (connect($s, sockaddr_in($port, $address))) { print "-"; exit 0 }
    $up = 1; print "+"; syswrite($s, $question) if length $question;
    my $total = 0; while ($total < 4096 && sysread($s, my $part, 1024)) { print $part; $total += length $part }' "$@"
}
ask_python3() {
  python3 -I -c '
import socket, sys
host, port, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
question = sys.stdin.buffer.read()
out = sys.stdout.buffer
try:
    s = socket.create_connection((host, port), seconds)
except TimeoutError:
    out.write(b"?")
    sys.exit()
except OSError:
    out.write(b"-")
    sys.exit()
out.write(b"+")
try:
    s.sendall(question)
    got = 0
    while got < 4096:
        part = s.recv(1024)
        if not part:
            break
        out.write(part)
        got += len(part)
except OSError:
    pass' "$@"
}
ask_bash() {
  # shellcheck disable=SC2016
  timeout "$3" bash -c 'exec 3<>"/dev/tcp/$0/$1" || { printf -- -; exit; }; printf +; cat >&3; head -c 4096 <&3' "$1" "$2" 2>/dev/null
  [ $? -ne 124 ] || printf '?'
}
ask_nc() {
  # Half-closing would end some servers before they answer: the question is followed by silence.
  answer=$( { cat; sleep 1; } | { timeout "$3" nc "$1" "$2" 2>/dev/null; [ $? -ne 124 ] || printf '\001'; } | head -c 4096; echo x)
  answer=${answer%x}
  case $answer in
    '') printf -- '-' ;;
    "$late") printf '?' ;;
    *) printf '+%s' "${answer%"$late"}" ;;
  esac
}
late=$(printf '\001')
choose() {
  if have perl && perl -e 'use Socket; exit 0' 2>/dev/null; then echo perl
  elif have python3; then echo python3
  elif have bash && have timeout && have head; then echo bash
  elif have nc && have timeout && have head; then echo nc
  fi
}
helper=$(choose)
ask() { "ask_$helper" "$@" 2>/dev/null | tr -d '\000\r'; }
# For an address that may not be there: 0 connected, 1 told no, 2 not known. Silence is not a no: a busy machine may be as silent as a
# closed network, and a network that only drops packets is not what the overlay makes.
reaches() { # HOST PORT
  case $(printf 'HEAD / HTTP/1.0\n\n' | ask "$1" "$2" 6) in +*) return 0 ;; -*) return 1 ;; *) return 2 ;; esac
}

# --- The sidecar --------------------------------------------------------------------------------------------------------
check_sidecar() {
  if [ -z "$helper" ]; then
    report unknown gate.unknown "nothing here can open a connection: install one of perl, python3, bash, nc"
    return
  fi
  deadline=$(($(date +%s) + wait_seconds))
  while :; do
    answer=$(printf 'GET http://%s/ HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n' "$probe" "$probe" | ask "$sidecar_host" "$sidecar_port" 3)
    case $answer in
      +*[Xx]-[Kk]ap-[Rr]eason:*egress.no-policy*) problem="gate.policy${tab}the sidecar has no policy and refuses everything" ;;
      +*[Xx]-[Kk]ap-[Rr]eason:*) report ok gate.no-sidecar "the sidecar answers at $sidecar"; return ;;
      +*) problem="gate.not-sidecar${tab}what answers at $sidecar is not kap's sidecar" ;;
      *) problem="gate.no-sidecar${tab}no sidecar answers at $sidecar" ;;
    esac
    [ "$(date +%s)" -lt "$deadline" ] || break
    sleep 1
  done
  report failed "${problem%%"$tab"*}" "${problem#*"$tab"}"
  helper_unproven=1
}

# --- Networks, from the kernel's own tables -----------------------------------------------------------------------------
dotted() { # little-endian hex of /proc/net/route
  printf '%d.%d.%d.%d' "0x${1#??????}" "0x$(echo "$1" | cut -c5-6)" "0x$(echo "$1" | cut -c3-4)" "0x$(echo "$1" | cut -c1-2)"
}
add_gateway() { case " $gateways " in *" $1 "*) ;; *) gateways="$gateways $1" ;; esac; }
read_routes() {
  devices=
  gateways=
  while read -r device destination gateway flags _ _ _ mask _; do
    [ "$device" != Iface ] && [ "$device" != lo ] || continue
    [ $((0x$flags & 1)) -eq 1 ] || continue
    case " $devices " in *" $device "*) ;; *) devices="$devices $device" ;; esac
    if [ "$gateway" != 00000000 ]; then
      add_gateway "$(dotted "$gateway")"
    elif [ "$destination" != 00000000 ] && [ "$mask" != FFFFFFFF ]; then
      # The engine gives the first address of a network to its host.
      first=$(dotted "$destination")
      add_gateway "${first%.*}.$((${first##*.} + 1))"
    fi
  done < /proc/net/route
}
alive() { # ADDRESS: does something on this network say it is there?
  while read -r address _ flags _; do
    [ "$address" != "$1" ] || [ "$flags" = 0x0 ] || return 0
  done < /proc/net/arp
  return 1
}
check_networks() {
  if [ ! -r /proc/net/route ] || [ ! -r /proc/net/arp ]; then
    report unknown gate.unknown "the kernel's routing table cannot be read (/proc/net/route, /proc/net/arp)"
    return
  fi
  read_routes
  # shellcheck disable=SC2086
  set -- $devices
  if [ $# -gt 1 ]; then
    report failed gate.second-network "this container is on $# networks ($*); it may only be on the capsule's"
  else
    report ok gate.second-network "on one network only"
  fi
  check_ipv6
}
check_ipv6() {
  out6=
  if [ -r /proc/net/if_inet6 ]; then
    while read -r address _ _ _ _ device; do
      # A link-local address counts: the host's end of the network may have one too.
      case $device:$address in lo:*) ;; *) out6="$out6 $device" ;; esac
    done < /proc/net/if_inet6
  fi
  if [ -n "$out6" ]; then
    report failed gate.ipv6 "IPv6 is on ($(echo $out6)); the capsule's network has none"
  else
    report ok gate.ipv6 "no IPv6 address"
  fi
}

# --- What must not answer -----------------------------------------------------------------------------------------------
check_closed() {
  if [ -z "$helper" ] || [ -n "${helper_unproven:-}" ]; then
    [ -n "$helper" ] && leaks=$(probe_all) && [ -n "$leaks" ] && report_leaks && return
    report unknown gate.direct-route "whether the internet can be reached directly is not known: nothing was reached, the sidecar neither"
    return
  fi
  leaks=$(probe_all)
  report_leaks
}
# All at once: packets that are dropped cost their time-out only once.
probe_all() {
  for target in $outside $metadata; do
    (
      reaches "${target%:*}" "${target#*:}"
      case $? in 0) echo "outside:$target" ;; 2) echo "silent:$target" ;; esac
    ) &
  done
  for gateway in ${gateways:-}; do
    ( reaches "$gateway" 22; alive "$gateway" && echo "host:$gateway" ) &
  done
  wait
}
report_leaks() {
  out=
  host=
  silent=
  for leak in $leaks; do
    case $leak in outside:*) out="$out ${leak#outside:}" ;; host:*) host="$host ${leak#host:}" ;; silent:*) silent="$silent ${leak#silent:}" ;; esac
  done
  if [ -n "$out" ]; then
    report failed gate.direct-route "the internet answers directly:$out"
  elif [ -n "$silent" ]; then
    report unknown gate.direct-route "there may be a way out: nobody refused a connection to$silent, there was only no answer in time"
  else
    report ok gate.direct-route "the internet does not answer directly"
  fi
  if [ -n "$host" ]; then
    report failed gate.host-reachable "the engine's host is on this network:$host"
  else
    report ok gate.host-reachable "the host is not on this network"
  fi
}

# --- Names ----------------------------------------------------------------------------------------------------------------
briefly() { if have timeout; then timeout 4 "$@"; else "$@"; fi; }
resolve() { # NAME -> an address on standard output; status 2: nothing here resolves names
  if have getent; then
    briefly getent hosts "$1" | { read -r address _ && echo "$address"; }
  elif have nslookup; then
    briefly nslookup "$1" 2>/dev/null | awk '/^Name:/ { found = 1 } found && /^Address/ { print $NF; exit }'
  elif [ "$helper" = python3 ] || [ "$helper" = perl ]; then
    case $helper in
      python3) briefly python3 -I -c 'import socket, sys; print(socket.gethostbyname(sys.argv[1]))' "$1" 2>/dev/null ;;
      perl) briefly perl -e 'use Socket; my $a = inet_aton($ARGV[0]); print inet_ntoa($a) if defined $a' "$1" ;;
    esac
  else
    return 2
  fi
}
check_names() {
  address=$(resolve "$own_name")
  if [ $? -eq 2 ]; then
    report unknown gate.resolver "nothing here resolves names: install getent or nslookup"
  elif [ -n "$address" ] && [ "$address" = "$sidecar_host" ]; then
    report ok gate.resolver "names are resolved by the sidecar"
  elif [ -n "$address" ]; then
    report failed gate.resolver "another name server answers: it says $own_name is $address"
  else
    report failed gate.resolver "names are not resolved by the sidecar: $own_name has no address"
  fi
}

# --- What undoes any network ------------------------------------------------------------------------------------------------
check_powers() {
  bounding=$(sed -n 's/^CapBnd:[[:space:]]*//p' /proc/self/status 2>/dev/null)
  if [ -z "$bounding" ]; then
    report unknown gate.unknown "the capabilities of this container cannot be read (/proc/self/status)"
  elif [ $((0x$bounding & 0x200000)) -ne 0 ]; then
    report failed gate.privileged "this container is privileged (it may have CAP_SYS_ADMIN)"
  elif [ $((0x$bounding & 0x3000)) -ne 0 ]; then
    report failed gate.capabilities "this container may have CAP_NET_ADMIN or CAP_NET_RAW"
  else
    report ok gate.capabilities "no capability that reaches the network"
  fi
  for socket in /var/run/docker.sock /run/docker.sock /run/containerd/containerd.sock /run/podman/podman.sock; do
    if [ -S "$socket" ]; then
      report failed gate.engine-socket "the container engine's socket is inside: $socket"
      return
    fi
  done
  report ok gate.engine-socket "no engine socket"
}

check_sidecar
check_networks
check_closed
check_names
check_powers

if [ "$failed" -eq 1 ]; then
  [ -n "$lines" ] || echo "kap: this container is NOT ISOLATED. See docs/codes/ of kap for each code; on the host run: kap status" >&2
  exit 1
elif [ "$unknown" -eq 1 ]; then
  [ -n "$lines" ] || echo "kap: isolation is NOT PROVEN, so nothing starts here. On the host run: kap status" >&2
  exit 69
fi
[ -n "$lines" ] || echo "kap: isolated: no way out but the sidecar at $sidecar"

/* main.c: longhaul-api. */
#include "api/server.h"
#include "base/log.h"
#include "config/options.h"

#include <jansson.h>
#include <signal.h>

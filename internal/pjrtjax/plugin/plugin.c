// A PJRT plugin for tests: GoMLX's own xla backend through it runs on the XLA of jaxlib, on any machine with Python. Each
// client is a server process (server.py) that holds its buffers and programs. What go-xla calls is here; the rest answers
// with an error. Everything is finished when a call returns, so events carry nothing.
//
// PYTHON and SERVER, the interpreter and server.py, are given at build time. PJRTJAX_DEVICES is the number of devices (1);
// server.py tells of the other variables.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "link.h"
#include "pjrt_c_api.h"

enum { MAX_DEVICES = 64, MAX_RANK = 16, MEMORY_STATS = 5 };

struct PJRT_Error {
  PJRT_Error_Code code;
  char *text;
};

struct PJRT_Device { // its own description
  int number;
};

struct PJRT_Client {
  struct link link;
  int count; // of devices
  PJRT_Device devices[MAX_DEVICES];
  PJRT_Device *list[MAX_DEVICES];
};

// A buffer or program may be destroyed after its client: a client's memory stays, as its link does, which is then dead.
struct PJRT_Buffer {
  PJRT_Client *client;
  int64_t id;
  PJRT_Buffer_Type type;
  size_t rank;
  int64_t dims[MAX_RANK];
  int device;
};

struct PJRT_Executable { // a loaded one too
  PJRT_Client *client;
  int64_t id;
  int64_t outputs;
  int64_t memory[MEMORY_STATS];
};

struct PJRT_Event {
  char nothing;
};

static PJRT_Event finished;

// failure makes an error. Without memory for it there is none to report it in.
static PJRT_Error *failure(PJRT_Error_Code code, const char *text) {
  static const char prefix[] = "pjrtjax: ";
  PJRT_Error *e = calloc(1, sizeof *e);
  if (!e) abort();
  e->code = code;
  e->text = calloc(1, sizeof prefix + strlen(text));
  if (!e->text) abort();
  strcat(strcpy(e->text, prefix), text);
  return e;
}

// refused turns a reply into an error, NULL if it is none.
static PJRT_Error *refused(const struct reply *r) {
  return r->code == 0 ? NULL : failure((PJRT_Error_Code)r->code, r->text ? r->text : "out of memory");
}

static PJRT_Error *no_memory(void) { return failure(PJRT_Error_Code_RESOURCE_EXHAUSTED, "out of host memory"); }

static PJRT_Error *unimplemented(void *args) {
  (void)args;
  return failure(PJRT_Error_Code_UNIMPLEMENTED, "not implemented: go-xla did not call this when the plugin was written");
}

static PJRT_Error *nothing_to_do(void *args) {
  (void)args;
  return NULL;
}

// Errors, plugin, events.

static void error_destroy(PJRT_Error_Destroy_Args *a) {
  PJRT_Error *e = (PJRT_Error *)a->error;
  if (e) free(e->text);
  free(e);
}

static void error_message(PJRT_Error_Message_Args *a) {
  a->message = a->error->text;
  a->message_size = strlen(a->error->text);
}

static PJRT_Error *error_code(PJRT_Error_GetCode_Args *a) {
  a->code = a->error->code;
  return NULL;
}

static PJRT_Error *plugin_attributes(PJRT_Plugin_Attributes_Args *a) {
  a->attributes = NULL;
  a->num_attributes = 0;
  return NULL;
}

static PJRT_Error *event_ready(PJRT_Event_IsReady_Args *a) {
  a->is_ready = true;
  return NULL;
}

// Clients and devices.

// device_count reads PJRTJAX_DEVICES; 0 if that is no number of devices.
static int device_count(void) {
  const char *text = getenv("PJRTJAX_DEVICES");
  if (!text || !*text) return 1;
  char *end;
  errno = 0;
  long n = strtol(text, &end, 10);
  return errno == 0 && *end == 0 && n >= 1 && n <= MAX_DEVICES ? (int)n : 0;
}

static PJRT_Error *start(PJRT_Client *c) {
  struct reply r;
  if (!link_start(&c->link, PYTHON, SERVER, c->count, &r)) return failure(PJRT_Error_Code_INTERNAL, strerror(errno));
  PJRT_Error *e = refused(&r);
  reply_clear(&r);
  return e;
}

static PJRT_Error *client_create(PJRT_Client_Create_Args *a) {
  PJRT_Client *c = calloc(1, sizeof *c);
  if (!c) return no_memory();
  c->count = device_count();
  if (c->count == 0) {
    free(c);
    return failure(PJRT_Error_Code_INVALID_ARGUMENT, "PJRTJAX_DEVICES is no number from 1 to 64");
  }
  for (int i = 0; i < c->count; i++) {
    c->devices[i].number = i;
    c->list[i] = &c->devices[i];
  }
  PJRT_Error *e = start(c);
  if (e) {
    link_stop(&c->link);
    free(c);
    return e;
  }
  a->client = c;
  return NULL;
}

static PJRT_Error *client_destroy(PJRT_Client_Destroy_Args *a) {
  pthread_mutex_lock(&a->client->link.mutex);
  link_stop(&a->client->link);
  pthread_mutex_unlock(&a->client->link.mutex);
  return NULL;
}

static PJRT_Error *client_platform(PJRT_Client_PlatformName_Args *a) {
  a->platform_name = "cpu";
  a->platform_name_size = strlen(a->platform_name);
  return NULL;
}

static PJRT_Error *client_version(PJRT_Client_PlatformVersion_Args *a) {
  a->platform_version = "XLA:CPU of jaxlib, in a process of its own";
  a->platform_version_size = strlen(a->platform_version);
  return NULL;
}

static PJRT_Error *client_process(PJRT_Client_ProcessIndex_Args *a) {
  a->process_index = 0;
  return NULL;
}

static PJRT_Error *client_devices(PJRT_Client_Devices_Args *a) {
  a->devices = a->client->list;
  a->num_devices = (size_t)a->client->count;
  return NULL;
}

static PJRT_Error *client_addressable(PJRT_Client_AddressableDevices_Args *a) {
  a->addressable_devices = a->client->list;
  a->num_addressable_devices = (size_t)a->client->count;
  return NULL;
}

static PJRT_Error *client_assignment(PJRT_Client_DefaultDeviceAssignment_Args *a) {
  if (a->num_replicas * a->num_partitions > a->client->count)
    return failure(PJRT_Error_Code_INVALID_ARGUMENT, "more devices asked for than PJRTJAX_DEVICES");
  for (int i = 0; i < a->num_replicas * a->num_partitions; i++) a->default_assignment[i] = i;
  return NULL;
}

static PJRT_Error *device_number(PJRT_Device_LocalHardwareId_Args *a) {
  a->local_hardware_id = a->device->number;
  return NULL;
}

static PJRT_Error *device_addressable(PJRT_Device_IsAddressable_Args *a) {
  a->is_addressable = true;
  return NULL;
}

static PJRT_Error *device_description(PJRT_Device_GetDescription_Args *a) {
  a->device_description = (PJRT_DeviceDescription *)a->device;
  return NULL;
}

static PJRT_Error *description_process(PJRT_DeviceDescription_ProcessIndex_Args *a) {
  a->process_index = 0;
  return NULL;
}

static PJRT_Error *description_text(PJRT_DeviceDescription_DebugString_Args *a) {
  a->debug_string = "XLA:CPU of jaxlib";
  a->debug_string_size = strlen(a->debug_string);
  return NULL;
}

// Programs.

static PJRT_Executable *new_program(PJRT_Client *c, const struct reply *r) {
  PJRT_Executable *x = calloc(1, sizeof *x);
  if (!x) return NULL;
  x->client = c;
  x->id = r->values[0];
  x->outputs = r->values[1];
  memcpy(x->memory, r->values + 2, sizeof x->memory);
  return x;
}

static PJRT_Error *compile(PJRT_Client_Compile_Args *a) {
  struct link *l = &a->client->link;
  size_t code = a->program->code_size, options = a->compile_options_size;
  if (code + options > AREA) return failure(PJRT_Error_Code_INVALID_ARGUMENT, "the program is too large");
  struct reply r = {.code = PJRT_Error_Code_UNAVAILABLE};
  pthread_mutex_lock(&l->mutex);
  if (l->area) {
    memcpy(l->area, a->program->code, code);
    memcpy(l->area + code, a->compile_options, options);
  }
  int64_t sizes[2] = {(int64_t)code, (int64_t)options};
  link_call(l, 'C', sizes, 2, &r);
  pthread_mutex_unlock(&l->mutex);
  PJRT_Error *e = refused(&r);
  if (!e) {
    a->executable = (PJRT_LoadedExecutable *)new_program(a->client, &r);
    if (!a->executable) e = no_memory();
  }
  reply_clear(&r);
  return e;
}

static PJRT_Error *loaded_program(PJRT_LoadedExecutable_GetExecutable_Args *a) {
  a->executable = (PJRT_Executable *)a->loaded_executable;
  return NULL;
}

static PJRT_Error *loaded_destroy(PJRT_LoadedExecutable_Destroy_Args *a) {
  PJRT_Executable *x = (PJRT_Executable *)a->executable;
  struct link *l = &x->client->link;
  pthread_mutex_lock(&l->mutex);
  link_send(l, 'X', &x->id, 1);
  pthread_mutex_unlock(&l->mutex);
  free(x);
  return NULL;
}

static PJRT_Error *program_outputs(PJRT_Executable_NumOutputs_Args *a) {
  a->num_outputs = (size_t)a->executable->outputs;
  return NULL;
}

static PJRT_Error *program_name(PJRT_Executable_Name_Args *a) {
  a->executable_name = "main";
  a->executable_name_size = strlen(a->executable_name);
  return NULL;
}

static PJRT_Error *program_memory(PJRT_Executable_GetCompiledMemoryStats_Args *a) {
  const int64_t *m = a->executable->memory;
  a->generated_code_size_in_bytes = m[0];
  a->argument_size_in_bytes = m[1];
  a->output_size_in_bytes = m[2];
  a->alias_size_in_bytes = m[3];
  a->temp_size_in_bytes = m[4];
  return NULL;
}

// take_buffer reads one output of a reply: type, rank and dimensions, at *at, which it moves on.
static PJRT_Buffer *take_buffer(PJRT_Client *c, int64_t id, int device, const int64_t **at) {
  PJRT_Buffer *b = calloc(1, sizeof *b);
  if (!b) abort();
  b->client = c;
  b->id = id;
  b->device = device;
  b->type = (PJRT_Buffer_Type)(*at)[0];
  b->rank = (size_t)(*at)[1];
  memcpy(b->dims, *at + 2, b->rank * sizeof *b->dims);
  *at += 2 + b->rank;
  return b;
}

// take_outputs fills the caller's lists. The outputs' numbers follow each other, device after device.
static void take_outputs(PJRT_LoadedExecutable_Execute_Args *a, PJRT_Executable *x, const struct reply *r) {
  int64_t id = r->values[0];
  for (size_t d = 0; d < a->num_devices; d++) {
    const int64_t *at = r->values + 1; // the same on every device
    for (int64_t i = 0; i < x->outputs; i++) a->output_lists[d][i] = take_buffer(x->client, id++, (int)d, &at);
    if (a->device_complete_events) a->device_complete_events[d] = &finished;
  }
}

static int64_t *execute_arguments(PJRT_LoadedExecutable_Execute_Args *a, PJRT_Executable *x, size_t *count) {
  *count = 2 + a->num_devices * a->num_args;
  int64_t *list = calloc(*count, sizeof *list), *at = list;
  if (!list) return NULL;
  *at++ = x->id;
  *at++ = (int64_t)a->num_devices;
  for (size_t d = 0; d < a->num_devices; d++)
    for (size_t i = 0; i < a->num_args; i++) *at++ = a->argument_lists[d][i]->id;
  return list;
}

static PJRT_Error *execute(PJRT_LoadedExecutable_Execute_Args *a) {
  PJRT_Executable *x = (PJRT_Executable *)a->executable;
  if (a->execute_device && a->execute_device->number != 0)
    return failure(PJRT_Error_Code_UNIMPLEMENTED, "a program for one device runs on device 0 only");
  size_t count;
  int64_t *arguments = execute_arguments(a, x, &count);
  if (!arguments) return no_memory();
  struct reply r;
  pthread_mutex_lock(&x->client->link.mutex);
  link_call(&x->client->link, 'E', arguments, count, &r);
  pthread_mutex_unlock(&x->client->link.mutex);
  free(arguments);
  PJRT_Error *e = refused(&r);
  if (!e) take_outputs(a, x, &r);
  reply_clear(&r);
  return e;
}

// Buffers.

// element_bytes is the size of one element; 0 for a type that the server does not know.
static size_t element_bytes(PJRT_Buffer_Type t) {
  switch (t) {
  case PJRT_Buffer_Type_PRED:
  case PJRT_Buffer_Type_S8:
  case PJRT_Buffer_Type_U8:
    return 1;
  case PJRT_Buffer_Type_S16:
  case PJRT_Buffer_Type_U16:
  case PJRT_Buffer_Type_F16:
  case PJRT_Buffer_Type_BF16:
    return 2;
  case PJRT_Buffer_Type_S32:
  case PJRT_Buffer_Type_U32:
  case PJRT_Buffer_Type_F32:
    return 4;
  case PJRT_Buffer_Type_S64:
  case PJRT_Buffer_Type_U64:
  case PJRT_Buffer_Type_F64:
  case PJRT_Buffer_Type_C64:
    return 8;
  case PJRT_Buffer_Type_C128:
    return 16;
  default:
    return 0;
  }
}

static size_t buffer_bytes(const PJRT_Buffer *b) {
  size_t n = element_bytes(b->type);
  for (size_t i = 0; i < b->rank; i++) n *= (size_t)b->dims[i];
  return n;
}

// describe makes a buffer of what the caller wants to copy in; NULL with an error where that is not supported.
static PJRT_Buffer *describe(PJRT_Client_BufferFromHostBuffer_Args *a, PJRT_Error **e) {
  if (a->num_dims > MAX_RANK || a->num_byte_strides > 0 || element_bytes(a->type) == 0) {
    *e = failure(PJRT_Error_Code_UNIMPLEMENTED, "copy to device: rank, strides or element type are not supported");
    return NULL;
  }
  PJRT_Buffer *b = calloc(1, sizeof *b);
  if (!b) abort();
  b->client = a->client;
  b->type = a->type;
  b->rank = a->num_dims;
  b->device = a->device ? a->device->number : 0;
  if (b->rank > 0) memcpy(b->dims, a->dims, b->rank * sizeof *b->dims);
  if (buffer_bytes(b) > AREA) {
    free(b);
    *e = failure(PJRT_Error_Code_UNIMPLEMENTED, "copy to device: more than 4 GiB");
    return NULL;
  }
  return b;
}

static PJRT_Error *buffer_from_host(PJRT_Client_BufferFromHostBuffer_Args *a) {
  PJRT_Error *e = NULL;
  PJRT_Buffer *b = describe(a, &e);
  if (!b) return e;
  int64_t arguments[3 + MAX_RANK] = {b->type, b->device, (int64_t)b->rank};
  memcpy(arguments + 3, b->dims, sizeof b->dims);
  struct link *l = &a->client->link;
  struct reply r;
  pthread_mutex_lock(&l->mutex);
  size_t n = buffer_bytes(b);
  if (l->area && n > 0) memcpy(l->area, a->data, n);
  link_call(l, 'P', arguments, 3 + b->rank, &r);
  pthread_mutex_unlock(&l->mutex);
  e = refused(&r);
  if (e)
    free(b);
  else
    b->id = r.values[0];
  reply_clear(&r);
  a->buffer = e ? NULL : b;
  a->done_with_host_buffer = &finished;
  return e;
}

static PJRT_Error *buffer_to_host(PJRT_Buffer_ToHostBuffer_Args *a) {
  size_t n = buffer_bytes(a->src);
  a->event = &finished;
  if (!a->dst) {
    a->dst_size = n;
    return NULL;
  }
  if (a->dst_size < n) return failure(PJRT_Error_Code_INVALID_ARGUMENT, "copy to host: the destination is too small");
  struct link *l = &a->src->client->link;
  struct reply r;
  pthread_mutex_lock(&l->mutex);
  link_call(l, 'G', &a->src->id, 1, &r);
  PJRT_Error *e = refused(&r);
  if (!e && n > 0) memcpy(a->dst, l->area, n);
  pthread_mutex_unlock(&l->mutex);
  reply_clear(&r);
  return e;
}

static PJRT_Error *buffer_destroy(PJRT_Buffer_Destroy_Args *a) {
  struct link *l = &a->buffer->client->link;
  pthread_mutex_lock(&l->mutex);
  link_free(l, a->buffer->id);
  pthread_mutex_unlock(&l->mutex);
  free(a->buffer);
  return NULL;
}

static PJRT_Error *buffer_dimensions(PJRT_Buffer_Dimensions_Args *a) {
  a->dims = a->buffer->dims;
  a->num_dims = a->buffer->rank;
  return NULL;
}

static PJRT_Error *buffer_type(PJRT_Buffer_ElementType_Args *a) {
  a->type = a->buffer->type;
  return NULL;
}

static PJRT_Error *buffer_device(PJRT_Buffer_Device_Args *a) {
  a->device = a->buffer->client->list[a->buffer->device];
  return NULL;
}

// The table.

static void fill_client(PJRT_Api *api) {
  api->PJRT_Client_Create = client_create;
  api->PJRT_Client_Destroy = client_destroy;
  api->PJRT_Client_PlatformName = client_platform;
  api->PJRT_Client_PlatformVersion = client_version;
  api->PJRT_Client_ProcessIndex = client_process;
  api->PJRT_Client_Devices = client_devices;
  api->PJRT_Client_AddressableDevices = client_addressable;
  api->PJRT_Client_DefaultDeviceAssignment = client_assignment;
  api->PJRT_Client_Compile = compile;
  api->PJRT_Client_BufferFromHostBuffer = buffer_from_host;
  api->PJRT_Device_LocalHardwareId = device_number;
  api->PJRT_Device_IsAddressable = device_addressable;
  api->PJRT_Device_GetDescription = device_description;
  api->PJRT_DeviceDescription_ProcessIndex = description_process;
  api->PJRT_DeviceDescription_DebugString = description_text;
}

static void fill_program(PJRT_Api *api) {
  api->PJRT_LoadedExecutable_GetExecutable = loaded_program;
  api->PJRT_LoadedExecutable_Destroy = loaded_destroy;
  api->PJRT_LoadedExecutable_Execute = execute;
  api->PJRT_Executable_NumOutputs = program_outputs;
  api->PJRT_Executable_Name = program_name;
  api->PJRT_Executable_GetCompiledMemoryStats = program_memory;
  api->PJRT_Executable_Destroy = (PJRT_Executable_Destroy *)nothing_to_do;
  api->PJRT_Buffer_ToHostBuffer = buffer_to_host;
  api->PJRT_Buffer_Destroy = buffer_destroy;
  api->PJRT_Buffer_Dimensions = buffer_dimensions;
  api->PJRT_Buffer_ElementType = buffer_type;
  api->PJRT_Buffer_Device = buffer_device;
}

static void fill_rest(PJRT_Api *api) {
  api->PJRT_Error_Destroy = error_destroy;
  api->PJRT_Error_Message = error_message;
  api->PJRT_Error_GetCode = error_code;
  api->PJRT_Plugin_Initialize = (PJRT_Plugin_Initialize *)nothing_to_do;
  api->PJRT_Plugin_Attributes = plugin_attributes;
  api->PJRT_Event_Destroy = (PJRT_Event_Destroy *)nothing_to_do;
  api->PJRT_Event_Await = (PJRT_Event_Await *)nothing_to_do;
  api->PJRT_Event_IsReady = event_ready;
}

const PJRT_Api *GetPjrtApi(void) {
  static PJRT_Api api;
  api.struct_size = PJRT_Api_STRUCT_SIZE;
  api.pjrt_api_version.struct_size = PJRT_Api_Version_STRUCT_SIZE;
  api.pjrt_api_version.major_version = PJRT_API_MAJOR;
  api.pjrt_api_version.minor_version = PJRT_API_MINOR;
  // Every function takes one pointer and, but for two that are set below, returns an error.
  PJRT_Plugin_Initialize **at = &api.PJRT_Plugin_Initialize, **end = (PJRT_Plugin_Initialize **)(&api + 1);
  for (at = (PJRT_Plugin_Initialize **)(void *)&api.PJRT_Error_Destroy; at < end; at++)
    *at = (PJRT_Plugin_Initialize *)unimplemented;
  fill_rest(&api);
  fill_client(&api);
  fill_program(&api);
  return &api;
}

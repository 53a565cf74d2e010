# podfence_room(NAME DEPENDENCY…): the library podfence_NAME of all sources in agent/NAME. A room that has no
# sources yet is an interface library, so that the others can be built without it.
function(podfence_room name)
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/agent/${name}/*.cpp)
  if(sources)
    add_library(podfence_${name} STATIC ${sources})
    target_include_directories(podfence_${name} PUBLIC ${CMAKE_SOURCE_DIR})
    target_link_libraries(podfence_${name} PUBLIC ${ARGN})
  else()
    add_library(podfence_${name} INTERFACE)
    target_link_libraries(podfence_${name} INTERFACE ${ARGN})
  endif()
endfunction()

# podfence_messages(NAME FILE.proto…): the library podfence_NAME of the protobuf messages in those files, of the lite
# runtime; included as "FILE.pb.h". Generated code is not ours: it is compiled without warnings and not linted.
function(podfence_messages name)
  list(TRANSFORM ARGN PREPEND ${CMAKE_SOURCE_DIR}/)
  protobuf_generate_cpp(sources headers ${ARGN})
  add_library(podfence_${name} STATIC ${sources} ${headers})
  target_compile_options(podfence_${name} PRIVATE -w)
  target_include_directories(podfence_${name} SYSTEM PUBLIC ${CMAKE_CURRENT_BINARY_DIR})
  target_link_libraries(podfence_${name} PUBLIC protobuf::libprotobuf-lite)
endfunction()

# podfence_counted_test(TEST PROGRAM LABEL): a GoogleTest program as a ctest test, shown as skipped where it skips.
function(podfence_counted_test test program label)
  add_test(NAME ${test} COMMAND ${CMAKE_SOURCE_DIR}/tests/counted $<TARGET_FILE:${program}>)
  set_tests_properties(${test} PROPERTIES LABELS ${label} SKIP_RETURN_CODE 77)
endfunction()

# podfence_test(NAME DEPENDENCY…): the GoogleTest program unit_NAME of all sources in tests/unit/NAME, a ctest test with
# the label "unit"; in a build with sanitizers it is called sanitize_unit_NAME. The target unit_tests builds them all.
add_custom_target(unit_tests)
function(podfence_test name)
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/unit/${name}/*.cpp)
  if(NOT sources)
    return()
  endif()
  add_executable(unit_${name} ${sources})
  target_include_directories(unit_${name} PRIVATE ${CMAKE_SOURCE_DIR})
  target_compile_definitions(unit_${name} PRIVATE PODFENCE_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
  target_link_libraries(unit_${name} PRIVATE ${ARGN} GTest::gtest GTest::gmock GTest::gtest_main)
  add_dependencies(unit_tests unit_${name})
  set(label unit)
  set(test unit_${name})
  if(PODFENCE_SANITIZE)
    set(label sanitize)
    set(test sanitize_unit_${name})
  endif()
  podfence_counted_test(${test} unit_${name} ${label})
endfunction()
